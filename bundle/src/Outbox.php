<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle;

use Fervo\DeferredEventBundle\Backend\BackendInterface;
use Fervo\DeferredEventBundle\Backend\DeferredJob;
use Fervo\DeferredEventBundle\DataCollector\DeferralLog;
use Fervo\DeferredEventBundle\Doctrine\TransactionTracker;
use Fervo\DeferredEventBundle\Exception\SendFailedException;
use Psr\Log\LoggerInterface;
use Symfony\Contracts\Service\ResetInterface;

/**
 * Holds jobs until they may be sent, and sends them together.
 *
 * 1. `immediately`: each job at once.
 * 2. `on_terminate`: at terminate(), which comes after the response, the console command, or the worker's job.
 * 3. `after_commit`: while a transaction is open, when it is committed; dropped when it is rolled back. Else at once.
 *
 * Nothing is lost silently: what could not be sent stays here, is tried again at terminate() and when PHP ends, and is
 * logged as an error then.
 *
 * @internal
 */
final class Outbox implements ResetInterface
{
    /** @var list<DeferredJob> */
    private array $waiting = [];

    private bool $isShutdownWatched = false;

    /**
     * @param \Closure(): LoggerInterface         $logger
     * @param (\Closure(): BackendInterface)|null $fallback `on_failure: run`
     */
    public function __construct(
        private readonly BackendInterface $backend,
        private readonly SendMode $mode,
        private readonly \Closure $logger,
        private readonly ?\Closure $fallback = null,
        private readonly ?TransactionTracker $transactions = null,
        private readonly ?DeferralLog $log = null,
    ) {
    }

    /** @throws SendFailedException when it is sent at once, and cannot be */
    public function add(DeferredJob $job): void
    {
        $this->log?->deferred($job);

        if (SendMode::OnTerminate === $this->mode) {
            $this->hold($job);
        } elseif (SendMode::AfterCommit === $this->mode && $this->transactions?->isOpen()) {
            if ([] === $this->waiting) {
                $this->transactions->whenEnded($this->transactionEnded(...));
            }
            $this->hold($job);
        } else {
            $this->send([$job]);
        }
    }

    /**
     * Sends what is held, except for what waits for a transaction that is still open.
     *
     * @throws SendFailedException what could not be sent is held on
     */
    public function flush(): void
    {
        if ($this->transactions?->isOpen()) {
            return;
        }
        // Taken out first: a job that is run at once may defer further ones.
        while ([] !== $jobs = $this->waiting) {
            $this->waiting = [];
            try {
                $this->send($jobs);
            } catch (SendFailedException $failure) {
                $this->waiting = [...$failure->unsentJobs, ...$this->waiting];
                throw $failure;
            }
        }
    }

    /** As flush(), where nobody could catch: a failure is logged, the next occasion tries again. */
    public function terminate(): void
    {
        try {
            $this->flush();
        } catch (SendFailedException $failure) {
            $this->error('Could not send deferred events yet: {reason}', $failure, $failure->unsentJobs);
        }
    }

    /** Between two requests of one process. */
    public function reset(): void
    {
        $this->terminate();
    }

    private function transactionEnded(bool $isCommitted): void
    {
        if ($isCommitted) {
            $this->terminate();

            return;
        }
        foreach ($this->waiting as $job) {
            $this->log?->dropped($job);
        }
        ($this->logger)()->info('Dropped {count} deferred events: the transaction was rolled back', ['count' => \count($this->waiting)]);
        $this->waiting = [];
    }

    private function hold(DeferredJob $job): void
    {
        $this->waiting[] = $job;
        if (!$this->isShutdownWatched) {
            $this->isShutdownWatched = true;
            register_shutdown_function($this->shutdown(...));
        }
    }

    private function shutdown(): void
    {
        try {
            if ($this->transactions?->isOpen()) {
                throw new SendFailedException('the transaction was never committed', $this->waiting);
            }
            $this->flush();
        } catch (\Throwable $failure) {
            $this->error('Deferred events are lost, for PHP ends now: {reason}', $failure, $this->waiting);
            $this->waiting = [];
        }
    }

    /** @param list<DeferredJob> $jobs */
    private function send(array $jobs): void
    {
        try {
            $this->backend->send(...$jobs);
            $unsent = [];
        } catch (SendFailedException $failure) {
            $unsent = $failure->unsentJobs;
        }

        foreach ($jobs as $job) {
            if (!\in_array($job, $unsent, true)) {
                $this->log?->sent($job);
            }
        }
        if ([] === $unsent) {
            return;
        }

        foreach ($unsent as $job) {
            $this->log?->failed($job);
        }
        if (null === $this->fallback) {
            throw $failure;
        }
        $this->error('Could not send deferred events, running them now: {reason}', $failure, $unsent);
        ($this->fallback)()->send(...$unsent);
    }

    /** @param list<DeferredJob> $jobs */
    private function error(string $message, \Throwable $reason, array $jobs): void
    {
        $context = [
            'reason' => $reason->getMessage(),
            'exception' => $reason,
            'events' => array_map(static fn (DeferredJob $job): string => $job->eventName.' for queue '.$job->queue, $jobs),
        ];
        ($this->logger)()->error($message, $context);
    }
}
