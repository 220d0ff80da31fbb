<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle;

use Fervo\DeferredEventBundle\Backend\BackendInterface;
use Fervo\DeferredEventBundle\Backend\DeferredJob;
use Fervo\DeferredEventBundle\Backend\InProcessBackendInterface;
use Fervo\DeferredEventBundle\Backend\UniqueBackendInterface;
use Fervo\DeferredEventBundle\DataCollector\DeferralLog;
use Fervo\DeferredEventBundle\Doctrine\OutboxTable;
use Fervo\DeferredEventBundle\Doctrine\TransactionScope;
use Fervo\DeferredEventBundle\Doctrine\TransactionTracker;
use Fervo\DeferredEventBundle\Exception\InvalidOptionException;
use Fervo\DeferredEventBundle\Exception\SendFailedException;
use Fervo\DeferredEventBundle\Worker\JobBoundary;
use Fervo\DeferredEventBundle\Worker\Relay;
use Psr\Log\LoggerInterface;
use Psr\Log\LogLevel;
use Symfony\Contracts\Service\ResetInterface;

/**
 * Holds jobs until they may be sent, and sends them together.
 *
 * 1. `immediately`: each job at once.
 * 2. `on_terminate`: at terminate(), which comes after the response, the console command, or the worker's job.
 * 3. `after_commit`: within transactions, when all that are open have been committed; dropped if one of them, or the
 *    savepoint in it, is not. Outside of one at once.
 * 4. `transactional`: each job at once into a table of the application's own database, which is part of its transactions;
 *    at terminate() as many as were added are moved on, the oldest first, and what is left then is the relay's.
 *
 * Nothing is lost silently: a job that may be sent and could not be is due, is tried again at the next occasion and when PHP
 * ends, and is logged as an error then. Nothing that happens here makes a commit fail, and no listener runs inside of one.
 *
 * @internal
 */
final class Outbox implements ResetInterface
{
    /** @var list<DeferredJob> those that may be sent */
    private array $due = [];

    /** @var array<int, DeferredJob> those whose transactions have not ended, by their object id */
    private array $pending = [];

    /** @var list<DeferredJob> those whose transaction was not committed, until that is logged */
    private array $dropped = [];

    private bool $isShutdownWatched = false;

    /** How many it has written into the table since it last moved some. */
    private int $stored = 0;

    /**
     * @param \Closure(): LoggerInterface         $logger
     * @param (\Closure(): BackendInterface)|null $fallback   `on_failure: run`
     * @param iterable<JobBoundary>               $boundaries the one of the worker's job, if there is one
     * @param string                              $type       the backend's, as the configuration says
     */
    public function __construct(
        private readonly BackendInterface $backend,
        private readonly SendMode $mode,
        private readonly \Closure $logger,
        private readonly ?\Closure $fallback = null,
        private readonly ?TransactionTracker $transactions = null,
        private readonly ?DeferralLog $log = null,
        private readonly ?OutboxTable $table = null,
        private readonly iterable $boundaries = [],
        private readonly string $type = 'service',
    ) {
        $transactions?->onEnded($this->transactionEnded(...));
    }

    /**
     * @throws SendFailedException    when it is sent at once, and cannot be
     * @throws InvalidOptionException when it has a unique key, which the backend does not know
     */
    public function add(DeferredJob $job): void
    {
        $this->checkUnique($job);
        $this->log?->deferred($job);
        // Without a queue there is nothing to move events to.
        if (null !== $this->table && !$this->backend instanceof InProcessBackendInterface) {
            $this->table->add($job);
            ++$this->stored;
            $this->log?->stored($job);

            return;
        }

        $scopes = SendMode::AfterCommit === $this->mode ? $this->transactions?->openScopes() ?? [] : [];
        if ([] !== $scopes) {
            $this->awaitCommit($job, $scopes);
        } elseif (SendMode::OnTerminate === $this->mode) {
            $this->due[] = $job;
            $this->watchShutdown();
        } elseif ($this->backend instanceof InProcessBackendInterface) {
            $this->flushSafely();
            $this->send([$job]);
        } else {
            $this->sendNow($job);
        }
    }

    /**
     * Sends what is due.
     *
     * @throws SendFailedException what could not be sent is due still
     */
    public function flush(): void
    {
        // What runs here would run within the transaction.
        if ($this->backend instanceof InProcessBackendInterface && $this->transactions?->isOpen()) {
            return;
        }
        $this->relay();
        // Taken out first: a job that is run at once may defer further ones.
        while ([] !== $jobs = $this->due) {
            $this->due = [];
            try {
                $this->send($jobs);
            } catch (SendFailedException $failure) {
                $this->due = [...$failure->unsentJobs, ...$this->due];
                throw $failure;
            }
        }
    }

    /** At the end of a request or command; it is none for a job that has called it, and has an end of its own. */
    public function terminate(): void
    {
        if (!$this->isInJob()) {
            $this->flushSafely();
        }
    }

    /**
     * The worker's job has failed, and so have the events that it held back: when it runs again, it defers them again.
     *
     * @return bool whether there were any
     */
    public function jobFailed(): bool
    {
        $hasDropped = SendMode::OnTerminate === $this->mode && [] !== $this->due;
        if ($hasDropped) {
            $this->dropped = [...$this->dropped, ...$this->due];
            $this->due = [];
            $this->logDropped('the job failed');
        }
        // Those whose transaction was committed before are not the job's any more.
        $this->flushSafely();

        return $hasDropped;
    }

    /** Between two requests of one process. */
    public function reset(): void
    {
        $this->terminate();
    }

    private function checkUnique(DeferredJob $job): void
    {
        if (null === $job->unique || $this->backend instanceof InProcessBackendInterface) {
            return;
        }
        if (!$this->backend instanceof UniqueBackendInterface) {
            throw new InvalidOptionException(sprintf('Cannot defer the event "%s" with the unique key "%s": the backend "%s" has no unique keys; "postgres" and "mysql" have.', $job->eventName, $job->unique, $this->type));
        }
        if (null !== $this->table) {
            throw new InvalidOptionException(sprintf('Cannot defer the event "%s" with the unique key "%s": the table of "send: transactional" has no unique keys, so set "send" to another value.', $job->eventName, $job->unique));
        }
    }

    private function isInJob(): bool
    {
        foreach ($this->boundaries as $boundary) {
            if ($boundary->isWorking()) {
                return true;
            }
        }

        return false;
    }

    /** As flush(), where nobody could catch: a failure is logged, the next occasion tries again. */
    private function flushSafely(): void
    {
        try {
            $this->flush();
        } catch (SendFailedException $failure) {
            $this->sendLater($failure);
        } catch (\Throwable $error) {
            // A listener's, of a job that ran here.
            $this->error('A deferred event failed: {reason}', $error, []);
        }
    }

    /** @param non-empty-list<TransactionScope> $scopes */
    private function awaitCommit(DeferredJob $job, array $scopes): void
    {
        $this->pending[spl_object_id($job)] = $job;
        $this->watchShutdown();
        $open = \count($scopes);
        $areCommitted = true;
        $ended = function (bool $isCommitted) use ($job, &$open, &$areCommitted): void {
            $areCommitted = $areCommitted && $isCommitted;
            if (0 !== --$open) {
                return;
            }
            unset($this->pending[spl_object_id($job)]);
            if ($areCommitted) {
                $this->due[] = $job;
            } else {
                $this->dropped[] = $job;
            }
        };
        foreach ($scopes as $scope) {
            $scope->whenEnded($ended);
        }
    }

    /** It may well be the driver's commit() that is under way: no listener is run, and nothing is thrown. */
    private function transactionEnded(): void
    {
        $this->logDropped('the transaction was not committed');
        if ([] === $this->due || $this->backend instanceof InProcessBackendInterface) {
            return;
        }
        $jobs = $this->due;
        $this->due = [];
        try {
            $this->sendToQueue($jobs);
        } catch (SendFailedException $failure) {
            $this->due = [...$failure->unsentJobs, ...$this->due];
            $this->sendLater($failure);
        }
    }

    /** With what is due already, so that a queue that is away is asked once, and the order stays. */
    private function sendNow(DeferredJob $job): void
    {
        $this->due[] = $job;
        try {
            $this->flush();
        } catch (SendFailedException $failure) {
            $others = array_values(array_filter($failure->unsentJobs, static fn (DeferredJob $unsent): bool => $unsent !== $job));
            $this->due = array_values(array_filter($this->due, static fn (DeferredJob $due): bool => $due !== $job));
            if (\count($others) === \count($failure->unsentJobs)) {
                $this->sendLater($failure);

                return;
            }
            // The caller is told of this one, and has it.
            throw [] === $others ? $failure : new SendFailedException($failure->getMessage(), [$job], $failure);
        }
    }

    private function logDropped(string $reason): void
    {
        if ([] === $jobs = $this->dropped) {
            return;
        }
        $this->dropped = [];
        foreach ($jobs as $job) {
            $this->log?->dropped($job);
        }
        $this->logSafely(LogLevel::INFO, 'Dropped {count} deferred events: {reason}', ['count' => \count($jobs), 'reason' => $reason]);
    }

    /** What the relay would do a little later, and does if it fails here. */
    private function relay(): void
    {
        if (null === $this->table || 0 === $this->stored) {
            return;
        }
        try {
            if ($this->table->isInTransaction()) {
                return;
            }
            $about = $this->stored;
            $this->stored = 0;
            // Not what has heaped up: this process has something else to do.
            (new Relay($this->table, $this->backend))->run($about);
        } catch (\Throwable $error) {
            $this->logSafely(LogLevel::WARNING, 'Deferred events stay in the database until the relay moves them: {reason}', ['reason' => $error->getMessage(), 'exception' => $error]);
        }
    }

    private function sendLater(SendFailedException $failure): void
    {
        $this->error('Could not send deferred events yet: {reason}', $failure, $failure->unsentJobs);
        $this->watchShutdown();
    }

    private function watchShutdown(): void
    {
        if ($this->isShutdownWatched) {
            return;
        }
        $this->isShutdownWatched = true;
        // As the last one: what the application registers may commit, or defer.
        register_shutdown_function(fn () => register_shutdown_function($this->shutdown(...)));
    }

    private function shutdown(): void
    {
        if ($this->isInJob()) {
            // By exit() or a fatal error, of which nobody else is told here.
            $this->jobFailed();
        }
        try {
            $this->flush();
        } catch (\Throwable $failure) {
            $this->error('Deferred events are lost, for PHP ends now: {reason}', $failure, $this->due);
            $this->due = [];
        }
        if ([] !== $this->pending) {
            $this->logSafely(LogLevel::WARNING, 'Did not send deferred events: PHP ends, and their transaction was never committed', ['events' => $this->names($this->pending)]);
        }
    }

    /** @param list<DeferredJob> $jobs */
    private function send(array $jobs): void
    {
        try {
            $this->sendToQueue($jobs);
        } catch (SendFailedException $failure) {
            // What runs here would run within the transaction.
            if (null === $this->fallback || $this->transactions?->isOpen()) {
                throw $failure;
            }
            $this->error('Could not send deferred events, running them now: {reason}', $failure, $failure->unsentJobs);
            ($this->fallback)()->send(...$failure->unsentJobs);
        }
    }

    /**
     * @param list<DeferredJob> $jobs
     *
     * @throws SendFailedException
     */
    private function sendToQueue(array $jobs): void
    {
        $unsent = [];
        try {
            $this->backend->send(...$jobs);
        } catch (SendFailedException $failure) {
            $unsent = $failure->unsentJobs;
            throw $failure;
        } catch (\Throwable $error) {
            // Of a listener that ran here.
            if ($this->backend instanceof InProcessBackendInterface) {
                throw $error;
            }
            // A backend of the application's own, which says so in its own way: nobody knows what is in the queue.
            $unsent = $jobs;
            throw new SendFailedException('Cannot put the deferred event into the queue: '.$error->getMessage(), $jobs, $error);
        } finally {
            foreach ($jobs as $job) {
                \in_array($job, $unsent, true) ? $this->log?->failed($job) : $this->log?->sent($job);
            }
        }
    }

    /** @param array<DeferredJob> $jobs */
    private function error(string $message, \Throwable $reason, array $jobs): void
    {
        $this->logSafely(LogLevel::ERROR, $message, ['reason' => $reason->getMessage(), 'exception' => $reason, 'events' => $this->names($jobs)]);
    }

    /**
     * The driver's commit() may be under way, and a log that cannot be written, as of a full disk, must not look like a failed commit.
     *
     * @param array<string, mixed> $context
     */
    private function logSafely(string $level, string $message, array $context): void
    {
        try {
            ($this->logger)()->log($level, $message, $context);
        } catch (\Throwable $error) {
            error_log(sprintf('%s: %s', $message, json_encode(array_diff_key($context, ['exception' => 1]), \JSON_UNESCAPED_SLASHES | \JSON_UNESCAPED_UNICODE | \JSON_PARTIAL_OUTPUT_ON_ERROR | \JSON_INVALID_UTF8_SUBSTITUTE)));
            error_log((string) $error);
        }
    }

    /**
     * @param array<DeferredJob> $jobs
     *
     * @return list<string>
     */
    private function names(array $jobs): array
    {
        return array_values(array_map(static fn (DeferredJob $job): string => $job->eventName.' for queue '.$job->queue, $jobs));
    }
}
