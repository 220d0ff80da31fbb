<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Worker;

use Fervo\DeferredEventBundle\Event\JobFailed;
use Fervo\DeferredEventBundle\Event\JobHandled;
use Fervo\DeferredEventBundle\Event\JobReceived;
use Fervo\DeferredEventBundle\Exception\NotDeployedException;
use Fervo\DeferredEventBundle\Messenger\MessageRunner;
use Fervo\DeferredEventBundle\Payload\DecodedEvent;
use Fervo\DeferredEventBundle\Payload\Signer;
use Fervo\Runner\Job;
use Fervo\Runner\Outcome;
use Psr\Log\LoggerInterface;
use Psr\Log\LogLevel;
use Symfony\Component\EventDispatcher\EventDispatcherInterface;
use Symfony\Contracts\Service\ResetInterface;

/**
 * Runs one job in the worker's place: dispatch its event, or have Messenger handle its message; send what the job itself has
 * deferred; reset the services.
 *
 * @internal
 */
final class JobRunner
{
    /**
     * @param \Closure(): LoggerInterface      $logger
     * @param (\Closure(): MessageRunner)|null $messages where Messenger is enabled
     */
    public function __construct(
        private readonly PayloadDispatcher $dispatcher,
        private readonly JobBoundary $boundary,
        private readonly ResetInterface $servicesResetter,
        private readonly \Closure $logger,
        private readonly EventDispatcherInterface $events,
        private readonly ?\Closure $messages = null,
    ) {
    }

    /** Never throws. The trace of what a listener throws goes to PHP's error log, which the worker keeps with the job. */
    public function run(Job $job): Outcome
    {
        $outcome = Signer::isMessage($job->payload) ? $this->runMessage($job) : $this->runEvent($job);
        $this->reset();

        return $outcome;
    }

    /**
     * For the log.
     *
     * @return array{job: string, queue: string, attempt: int}
     */
    public static function context(Job $job): array
    {
        return ['job' => $job->id, 'queue' => $job->queue, 'attempt' => $job->attempt];
    }

    private function runEvent(Job $job): Outcome
    {
        $decoded = null;
        try {
            $received = function (DecodedEvent $event) use ($job, &$decoded): void {
                $decoded = $event;
                $this->tell(JobReceived::class, static fn (): object => new JobReceived($job, $event->name, $event->event, $event->listener));
            };
            $this->dispatcher->dispatch($job->payload, $received, $this->boundary);
        } catch (\Throwable $error) {
            $outcome = Judge::failed($error);
            $willRetry = $this->report('A deferred event failed ({outcome}): {error}', $error, $outcome, $job, $decoded?->name, $decoded?->listener);
            $this->tellSafely(JobFailed::class, static fn (): object => new JobFailed($job, $decoded?->name, $decoded?->event, $decoded?->listener, $error, $willRetry, $outcome->delayMs));

            return $outcome;
        }
        $this->tellSafely(JobHandled::class, static fn (): ?object => null === $decoded ? null : new JobHandled($job, $decoded->name, $decoded->event, $decoded->listener));

        return Outcome::ack();
    }

    /** Messenger tells of its messages by events of its own; ours are for what it knows nothing of. */
    private function runMessage(Job $job): Outcome
    {
        $class = null;
        try {
            $messages = null === $this->messages ? throw new NotDeployedException('The payload is a message of Symfony Messenger, which is not enabled here: set "framework.messenger".') : ($this->messages)();
            $message = $messages->read($job->payload);
            $class = $message->class;
            if (null === $rejected = $messages->work($message, $job)) {
                return Outcome::ack();
            }
            $outcome = Judge::rejected($rejected);
            $this->report('A message failed ({outcome}): {error}', $rejected, $outcome, $job, $class);
        } catch (\Throwable $error) {
            $outcome = Judge::failed($error);
            $willRetry = $this->report('A message failed ({outcome}): {error}', $error, $outcome, $job, $class);
            $this->tellSafely(JobFailed::class, static fn (): object => new JobFailed($job, $class, null, null, $error, $willRetry, $outcome->delayMs));
        }

        return $outcome;
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

    /**
     * An attempt that is not the last is a warning: nobody has to look yet.
     *
     * @return bool whether it is tried again
     */
    private function report(string $text, \Throwable $error, Outcome $outcome, Job $job, ?string $event, ?string $listener = null): bool
    {
        error_log((string) $error);
        $willRetry = Outcome::RETRY === $outcome->kind && !$job->isLastAttempt();
        $context = [
            'outcome' => $outcome->kind,
            'error' => $outcome->error,
            'exception' => $error,
            ...self::context($job),
            'event' => $event,
            'listener' => $listener,
        ];
        try {
            ($this->logger)()->log($willRetry ? LogLevel::WARNING : LogLevel::ERROR, $text, $context);
        } catch (\Throwable $error) {
            error_log((string) $error);
        }

        return $willRetry;
    }

    /** The job has had its outcome by now: what fails here must not run it again. */
    private function reset(): void
    {
        try {
            $this->servicesResetter->reset();
        } catch (\Throwable $error) {
            error_log((string) $error);
        }
        // The next job of a batch must not go on in what a listener of JobHandled or JobFailed, the log or a service's reset has left.
        if ([] !== $left = $this->boundary->rollBack()) {
            error_log(sprintf('Behind a job, a transaction was left open on the connection "%s"; it was rolled back.', implode('", "', $left)));
        }
    }
}
