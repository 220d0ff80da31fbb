<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Worker;

use Fervo\DeferredEventBundle\Doctrine\OpenTransactions;
use Fervo\DeferredEventBundle\Event\Job;
use Fervo\DeferredEventBundle\Event\JobFailed;
use Fervo\DeferredEventBundle\Event\JobHandled;
use Fervo\DeferredEventBundle\Event\JobReceived;
use Fervo\DeferredEventBundle\Exception\OpenTransactionException;
use Fervo\DeferredEventBundle\Outbox;
use Fervo\DeferredEventBundle\Payload\DecodedEvent;
use Psr\Log\LoggerInterface;
use Psr\Log\LogLevel;
use Symfony\Component\EventDispatcher\EventDispatcherInterface;
use Symfony\Contracts\Service\ResetInterface;

/**
 * Runs one job in the worker's place: dispatch, send what the job itself has deferred, reset the services.
 *
 * @internal
 */
final class JobRunner
{
    /**
     * @param iterable<Outbox>            $outboxes the one that there is, if the job has used it
     * @param \Closure(): LoggerInterface $logger
     */
    public function __construct(
        private readonly PayloadDispatcher $dispatcher,
        private readonly iterable $outboxes,
        private readonly ResetInterface $servicesResetter,
        private readonly \Closure $logger,
        private readonly EventDispatcherInterface $events,
        private readonly ?OpenTransactions $openTransactions = null,
    ) {
    }

    /** Never throws. The trace of what a listener throws goes to PHP's error log, which the worker keeps with the job. */
    public function run(string $payload): Outcome
    {
        $job = Job::of($_SERVER);
        $decoded = null;
        try {
            $this->dispatch($payload, function (DecodedEvent $event) use ($job, &$decoded): void {
                $decoded = $event;
                $this->tell(JobReceived::class, static fn (): object => new JobReceived($job, $event->name, $event->event, $event->listener));
            });
            $outcome = Outcome::ack();
            $this->tellSafely(JobHandled::class, static fn (): ?object => null === $decoded ? null : new JobHandled($job, $decoded->name, $decoded->event, $decoded->listener));
        } catch (\Throwable $error) {
            $outcome = Outcome::failed($error);
            error_log((string) $error);
            $willRetry = Outcome::RETRY === $outcome->kind && !$job->isLastAttempt();
            $this->log($error, $outcome, $job, $decoded, $willRetry);
            $this->tellSafely(JobFailed::class, static fn (): object => new JobFailed($job, $decoded?->name, $decoded?->event, $decoded?->listener, $error, $willRetry, $outcome->delayMs));
        }
        $this->reset();

        return $outcome;
    }

    /**
     * A listener that has returned is not one that is done: not within a transaction, and not while its events are not sent.
     *
     * @param \Closure(DecodedEvent): void $before
     */
    private function dispatch(string $payload, \Closure $before): void
    {
        try {
            try {
                $this->dispatcher->dispatch($payload, $before);
            } finally {
                // Whatever has happened: the next job of a batch must not go on in it.
                $connections = $this->openTransactions?->rollBack() ?? [];
            }
            if ([] !== $connections) {
                throw new OpenTransactionException($connections);
            }
            foreach ($this->outboxes as $outbox) {
                $outbox->flush();
            }
        } catch (\Throwable $error) {
            foreach ($this->outboxes as $outbox) {
                $outbox->jobFailed();
            }
            throw $error;
        }
    }

    /**
     * Without a listener it costs a look-up.
     *
     * @param class-string        $name
     * @param \Closure(): ?object $event
     */
    private function tell(string $name, \Closure $event): void
    {
        if ($this->events->hasListeners($name) && null !== $event = $event()) {
            $this->events->dispatch($event, $name);
        }
    }

    /**
     * Once the job has its outcome.
     *
     * @param class-string        $name
     * @param \Closure(): ?object $event
     */
    private function tellSafely(string $name, \Closure $event): void
    {
        try {
            $this->tell($name, $event);
        } catch (\Throwable $error) {
            error_log((string) $error);
        }
    }

    /** A try that is not the last is a warning: nobody has to look yet. */
    private function log(\Throwable $error, Outcome $outcome, Job $job, ?DecodedEvent $decoded, bool $willRetry): void
    {
        $context = [
            'outcome' => $outcome->kind,
            'error' => $outcome->error,
            'exception' => $error,
            ...$job->context(),
            'event' => $decoded?->name,
            'listener' => $decoded?->listener,
        ];
        try {
            ($this->logger)()->log($willRetry ? LogLevel::WARNING : LogLevel::ERROR, 'A deferred event failed ({outcome}): {error}', $context);
        } catch (\Throwable $error) {
            error_log((string) $error);
        }
    }

    /** The job has had its outcome by now: what fails here must not run it again. */
    private function reset(): void
    {
        try {
            $this->servicesResetter->reset();
        } catch (\Throwable $error) {
            error_log((string) $error);
        }
    }
}
