<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Worker;

use Fervo\DeferredEventBundle\Event\JobFailed;
use Fervo\DeferredEventBundle\Event\JobHandled;
use Fervo\DeferredEventBundle\Event\JobReceived;
use Fervo\DeferredEventBundle\Exception\NotDeployedException;
use Fervo\DeferredEventBundle\Messenger\ApplicationFacts;
use Fervo\DeferredEventBundle\Messenger\Ending;
use Fervo\DeferredEventBundle\Messenger\MessageRunner;
use Fervo\DeferredEventBundle\Payload\DecodedEvent;
use Fervo\DeferredEventBundle\Payload\Signer;
use Fervo\Runner\BatchApplication;
use Fervo\Runner\Checkable;
use Fervo\Runner\Failure;
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
final class JobRunner implements BatchApplication, Checkable
{
    /** The worker's format of the messages of Messenger's own transports. */
    private const MESSENGER = 'messenger';
    private const NOT_NOW_MS = 10_000;

    /**
     * @param \Closure(): LoggerInterface         $logger
     * @param (\Closure(): MessageRunner)|null    $messages where Messenger is enabled
     * @param (\Closure(): ApplicationFacts)|null $facts    the same
     */
    public function __construct(
        private readonly PayloadDispatcher $dispatcher,
        private readonly JobBoundary $boundary,
        private readonly ResetInterface $servicesResetter,
        private readonly \Closure $logger,
        private readonly EventDispatcherInterface $events,
        private readonly ?\Closure $messages = null,
        private readonly ?\Closure $facts = null,
    ) {
    }

    /**
     * Never throws. The trace of what a listener throws goes to PHP's error log, which the worker keeps with the job.
     *
     * @param bool $mayReplace whether whoever asks can put the copy of a message into the job's place
     */
    public function run(Job $job, bool $mayReplace = true): Outcome
    {
        $outcome = Signer::isMessage($job->payload) ? $this->runMessage($job, $mayReplace) : $this->runEvent($job);
        $this->reset();

        return $outcome;
    }

    public function runAll(\Generator $jobs, \Closure $settle): void
    {
        $end = function (Job $job, Ending $ending) use ($settle): void {
            // Before the outcome: until then, what is logged belongs to this job.
            $this->tellEnding($job, $ending);
            $settle($job, $ending->outcome);
        };
        if (null !== $why = $this->whyNoMessages($jobs->current())) {
            foreach ($jobs as $job) {
                $end($job, new Ending(Outcome::release(self::NOT_NOW_MS, $why)->pausingQueue(self::NOT_NOW_MS), $why));
            }

            return;
        }
        ($this->messages)()->runAll($jobs, $end, $this->reset(...));
        $this->reset();
    }

    public function died(Job $job, Failure $failure): Outcome
    {
        if (null !== $why = $this->whyNoMessages($job)) {
            return Outcome::retry($why);
        }
        $ending = ($this->messages)()->died($job, $failure);
        $this->tellEnding($job, $ending);

        return $ending->outcome;
    }

    public function facts(): array
    {
        return null === $this->facts ? [] : ['messenger' => ($this->facts)()->read()];
    }

    /** @phpstan-assert-if-false !null $this->messages */
    private function whyNoMessages(Job $job): ?NotDeployedException
    {
        return match (true) {
            self::MESSENGER !== $job->format => new NotDeployedException(sprintf('The worker sends messages of the format "%s", which this application cannot read: it reads "%s".', $job->format, self::MESSENGER)),
            null === $this->messages => new NotDeployedException('The worker sends messages of Symfony Messenger, which is not enabled here: install symfony/messenger, and set "framework.messenger".'),
            default => null,
        };
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

    /** A message that was sent by fervo://. */
    private function runMessage(Job $job, bool $mayReplace): Outcome
    {
        $class = null;
        try {
            $messages = null === $this->messages ? throw new NotDeployedException('The payload is a message of Symfony Messenger, which is not enabled here: set "framework.messenger".') : ($this->messages)();
            $message = $messages->read($job->payload);
            $class = $message->class;
            $ending = $messages->runOne($message, $job, $mayReplace);
        } catch (\Throwable $error) {
            $ending = new Ending(Judge::failed($error), $error, $class);
        }
        $this->tellEnding($job, $ending);

        return $ending->outcome;
    }

    /** Messenger tells of its messages by events of its own; ours are for what it knows nothing of. */
    private function tellEnding(Job $job, Ending $ending): void
    {
        if (null === $error = $ending->error) {
            return;
        }
        $willRetry = $this->report('A message failed ({outcome}): {error}', $error, $ending->outcome, $job, $ending->class);
        if (!$ending->isKnown) {
            $this->tellSafely(JobFailed::class, static fn (): object => new JobFailed($job, $ending->class, null, null, $error, $willRetry, $ending->outcome->delayMs));
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

    /**
     * An attempt that is not the last is a warning: nobody has to look yet.
     *
     * @return bool whether it is tried again
     */
    private function report(string $text, \Throwable $error, Outcome $outcome, Job $job, ?string $event, ?string $listener = null): bool
    {
        error_log((string) $error);
        $isReleased = Outcome::RELEASE === $outcome->kind;
        $willRetry = $isReleased || (Outcome::RETRY === $outcome->kind && !$job->isLastAttempt());
        $context = [
            'outcome' => $outcome->kind,
            'error' => $outcome->error,
            'exception' => $error,
            ...self::context($job),
            'event' => $event,
            'listener' => $listener,
        ];
        try {
            ($this->logger)()->log($willRetry && !$isReleased ? LogLevel::WARNING : LogLevel::ERROR, $text, $context);
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
