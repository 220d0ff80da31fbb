<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Fervo\DeferredEventBundle\Exception\InvalidSignatureException;
use Fervo\DeferredEventBundle\Exception\NotDeployedException;
use Fervo\DeferredEventBundle\Exception\OpenTransactionException;
use Fervo\DeferredEventBundle\Exception\UndecodablePayloadException;
use Fervo\DeferredEventBundle\Worker\JobBoundary;
use Fervo\DeferredEventBundle\Worker\Judge;
use Fervo\Runner\Failure;
use Fervo\Runner\Job;
use Fervo\Runner\Outcome;
use Psr\Log\LoggerInterface;
use Symfony\Component\DependencyInjection\Exception\ExceptionInterface as ContainerException;
use Symfony\Component\EventDispatcher\EventDispatcherInterface;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Exception\MessageDecodingFailedException;
use Symfony\Component\Messenger\MessageBusInterface;
use Symfony\Component\Messenger\Stamp\ReceivedStamp;
use Symfony\Component\Messenger\Stamp\TransportMessageIdStamp;
use Symfony\Component\Messenger\Worker;
use Symfony\Contracts\Service\ServiceProviderInterface;

/**
 * Has messages handled by Messenger's own worker, which gets those of a request and ends. So its events, middlewares, retries and
 * failure transport are what the application has made of them; fervo-worker is told what became of each message (docs/adr/0038).
 *
 * @internal
 */
final class MessageRunner
{
    /** When the application cannot run messages, none of the queue begins for this time. */
    private const NOT_NOW_MS = 10_000;
    /** A listener has said no: Symfony leaves such a message in its transport. */
    private const VETOED_MS = 10_000;

    /** @param ServiceProviderInterface<\Symfony\Component\Messenger\Transport\Serialization\SerializerInterface> $serializers a transport's name => its serializer */
    public function __construct(
        private readonly MessageCodec $codec,
        private readonly ServiceProviderInterface $serializers,
        private readonly MessageBusInterface $bus,
        private readonly EventDispatcherInterface $dispatcher,
        private readonly Recorder $recorder,
        private readonly JobBoundary $boundary,
        private readonly ?LoggerInterface $logger = null,
    ) {
    }

    /**
     * Of a job that {@see FervoTransport} has sent.
     *
     * @throws InvalidSignatureException
     * @throws NotDeployedException
     * @throws UndecodablePayloadException
     */
    public function read(string $payload): EncodedMessage
    {
        return $this->codec->decode($payload);
    }

    /**
     * The message itself, as a worker would get it.
     *
     * @throws \Throwable what the transport's serializer throws
     */
    public function envelope(EncodedMessage $message): Envelope
    {
        if (!$this->serializers->has($message->transport)) {
            throw new NotDeployedException(sprintf('There is no transport "%s" in "framework.messenger.transports", to which a message of the class "%s" belongs.', $message->transport, $message->class));
        }

        // What does not decode has been encoded by this application, for its signature is good: a class is not there yet, or a
        // secret. A deployment may heal it, so it is no reason for Messenger's way, which is to throw the message away.
        return $this->serializers->get($message->transport)->decode($message->envelope);
    }

    /**
     * In this process, as sync:// does it: what a handler throws comes out, and nothing is tried again.
     *
     * @throws \Throwable
     */
    public function handle(EncodedMessage $message): void
    {
        $this->bus->dispatch($this->envelope($message)->with(new ReceivedStamp($message->transport)));
    }

    /**
     * A message of fervo://, in the worker's place.
     *
     * @param bool $mayReplace whether the answer can have the copy for the next attempt; else Messenger sends it
     *
     * @throws \Throwable when it cannot be decoded
     */
    public function runOne(EncodedMessage $message, Job $job, bool $mayReplace): Ending
    {
        $copying = static function (Envelope $envelope, Sender $sender) use ($mayReplace): ?Copy {
            $transport = $mayReplace ? $sender->get() : null;
            $body = $transport instanceof FervoTransport ? $transport->message($envelope) : null;

            return null === $body ? null : Copy::of($envelope, $body);
        };
        $delivery = new Delivery($job, $message->transport, self::withId($this->envelope($message), $job), $copying);
        $ending = null;
        $this->runTransport(new \ArrayIterator([$delivery]), static function (Delivery $delivery, Ending $told) use (&$ending): void {
            $ending = $told;
        });

        return $ending ?? throw new \LogicException('A message has no end.');
    }

    /**
     * Messages of the application's own transports.
     *
     * @param \Iterator<int, Job>         $jobs
     * @param \Closure(Job, Ending): void $settle  called as soon as the end of a message is certain; messages of a batch handler end in
     *                                             any order
     * @param \Closure(): void            $between called between two messages
     */
    public function runAll(\Iterator $jobs, \Closure $settle, \Closure $between): void
    {
        $deliveries = $this->deliveries($jobs, $settle);
        while ($deliveries->valid()) {
            $this->runTransport($deliveries, static fn (Delivery $delivery, Ending $ending) => $settle($delivery->job, $ending), $between);
            if (!$deliveries->valid() || $deliveries->current()->isSettled) {
                // Messenger's worker was stopped: what has not begun runs elsewhere.
                return;
            }
        }
    }

    /** A message whose process has died: what a handler's exception would have led to. */
    public function died(Job $job, Failure $failure): Ending
    {
        $ending = null;
        $settle = static function (Job $job, Ending $told) use (&$ending): void {
            $ending = $told;
        };
        $deliveries = $this->deliveries(new \ArrayIterator([$job]), $settle);
        if ($deliveries->valid()) {
            $this->runTransport($deliveries, static fn (Delivery $delivery, Ending $ending) => $settle($delivery->job, $ending), bus: new DeadJobBus(new JobCrashed($failure)));
        }
        \assert($ending instanceof Ending);

        return match ($ending->outcome->kind) {
            // It has run, and it is not done.
            Outcome::ACK, Outcome::RELEASE => new Ending(Outcome::retry($ending->outcome->error ?? $failure->code.': '.$failure->message), $ending->error, $ending->class),
            default => $ending,
        };
    }

    /**
     * @param \Iterator<int, Job>         $jobs
     * @param \Closure(Job, Ending): void $settle for those that cannot be decoded
     *
     * @return \Generator<int, Delivery>
     */
    private function deliveries(\Iterator $jobs, \Closure $settle): \Generator
    {
        foreach ($jobs as $job) {
            $received = $this->receive($job);
            if ($received instanceof Delivery) {
                yield $received;
            } else {
                $settle($job, $received);
            }
        }
    }

    private function receive(Job $job): Delivery|Ending
    {
        if (!$this->serializers->has($job->queue)) {
            $known = array_map(strval(...), array_keys($this->serializers->getProvidedServices()));
            sort($known);

            return self::notNow(new NotDeployedException(sprintf('There is no transport "%s" in "framework.messenger.transports", and the worker has a queue of this name. There are: %s.', $job->queue, implode(', ', $known) ?: 'none')));
        }
        try {
            $serializer = $this->serializers->get($job->queue);
            $envelope = $serializer->decode(['body' => $job->payload, 'headers' => $job->headers]);
        } catch (MessageDecodingFailedException $error) {
            // The worker keeps its bytes.
            return new Ending(Outcome::bury('DECODE_FAILED: '.$error::class.': '.$error->getMessage()), $error);
        } catch (ContainerException $error) {
            // Not the message's fault, but the configuration's, for example a secret that is missing in the pool's environment.
            return self::notNow($error);
        } catch (\Throwable $error) {
            return new Ending(Outcome::retry($error), $error);
        }

        return new Delivery($job, $job->queue, self::withId($envelope, $job), static function (Envelope $envelope) use ($serializer): Copy {
            $encoded = $serializer->encode($envelope);

            return Copy::of($envelope, $encoded['body'], $encoded['headers'] ?? []);
        });
    }

    /**
     * Has Messenger's worker handle the deliveries of one transport, from the current one on.
     *
     * @param \Iterator<Delivery>              $deliveries
     * @param \Closure(Delivery, Ending): void $settle
     * @param (\Closure(): void)|null          $between
     */
    private function runTransport(\Iterator $deliveries, \Closure $settle, ?\Closure $between = null, ?MessageBusInterface $bus = null): void
    {
        SignalListeners::removeWhereThereAreNoSignals($this->dispatcher);
        $first = $deliveries->current();
        $bus = new JobBus($bus ?? $this->bus, $this->boundary);
        $end = function (Delivery $delivery, ?\Throwable $failure = null) use ($settle, $bus): void {
            if (!$delivery->isSettled) {
                $delivery->isSettled = true;
                $delivery->isHeld = $bus->isHeld($delivery);
                $settle($delivery, $this->conclude($delivery, $failure));
            }
        };
        $receiver = new Deliveries($deliveries, $this->recorder, $bus, $end);
        $receiver->worker = new Worker([$first->transport => $receiver], $bus, new WatchedDispatcher($this->dispatcher, $this->recorder, $between), $this->logger);
        $failure = null;
        try {
            $this->boundary->during(static fn () => $receiver->worker->run(['sleep' => 0]));
        } catch (\Throwable $failure) {
        }
        $given = $this->recorder->end();
        if (null !== $failure && [] === array_filter($given, static fn (Delivery $delivery): bool => !$delivery->isSettled)) {
            // What has become of the messages is certain: to run one again would do it twice.
            $this->logBehind($failure, $first);
        }
        foreach ($first->isGiven ? $given : [$first] as $delivery) {
            $end($delivery, $failure);
        }
        try {
            // What listeners have deferred behind the last message.
            $this->boundary->around(static fn () => null);
        } catch (\Throwable $error) {
            $this->logBehind($error, $first);
        }
    }

    private function conclude(Delivery $delivery, ?\Throwable $failure): Ending
    {
        // What a listener of the worker's events has left.
        $left = $this->boundary->rollBack();
        try {
            // What listeners have deferred is sent before the message is done, as what a handler has, and dropped when it runs again.
            $ending = $this->boundary->around(fn (): Ending => $this->judge($delivery, $left, $failure));
        } catch (\Throwable $error) {
            return new Ending(Outcome::retry($error), $error, $delivery->class());
        }
        if (null !== $failure) {
            $this->logBehind($failure, $delivery);
        }
        if ([] !== $left) {
            $this->logger?->error('A listener of Messenger\'s worker left a transaction open, which is rolled back: {connections}', ['connections' => implode(', ', $left), 'class' => $delivery->class(), 'job' => $delivery->job->id]);
        }

        return $ending;
    }

    /**
     * The table of docs/adr/0038; the first row that fits counts.
     *
     * @param list<string> $left connections on which a listener has left a transaction open
     *
     * @throws \Throwable why the message has to run again
     */
    private function judge(Delivery $delivery, array $left, ?\Throwable $failure): Ending
    {
        if (null !== $delivery->copy) {
            $copy = $delivery->copy;

            return new Ending(Outcome::replace($copy->body, $copy->headers, $copy->delayMs, self::causeOf($delivery)));
        }
        // A listener of the application may have its own way of trying again. Messenger rejects the message then, or acknowledges it.
        if ($delivery->isSent || $delivery->willRetry) {
            if ([] !== $left) {
                // The copy may have been written into it. Twice is better than not at all.
                throw new OpenTransactionException($left);
            }

            return new Ending(Outcome::handled(self::causeOf($delivery)));
        }
        // A batch handler may have acknowledged the message before what it did was undone.
        if ($delivery->isAcknowledged && null === $delivery->error && null === $delivery->undone) {
            return new Ending(Outcome::ack());
        }
        if ($delivery->isRejected) {
            return new Ending(Outcome::bury(self::causeOf($delivery)), self::causeOf($delivery), $delivery->class(), isKnown: true);
        }
        if (null !== $error = $failure ?? $delivery->undone) {
            throw $error;
        }
        if (!$delivery->isGiven) {
            return new Ending(Outcome::release(0, sprintf('Messenger\'s worker was stopped by a listener before it took a message of the class "%s".', $delivery->class())));
        }
        if ($delivery->isVetoed) {
            return new Ending(Outcome::release(self::VETOED_MS, sprintf('A listener of WorkerMessageReceivedEvent did not let a message of the class "%s" be handled.', $delivery->class())));
        }
        if ($delivery->isHeld) {
            // The worker of Symfony 5.4 skips one of two batch handlers that are pending at its end.
            return new Ending(Outcome::release(0, sprintf('Messenger\'s worker ended without flushing the batch handler that holds a message of the class "%s".', $delivery->class())));
        }
        throw new \RuntimeException(sprintf('A message of the class "%s" was neither acknowledged nor rejected: a batch handler has to do so with each.', $delivery->class()));
    }

    private static function causeOf(Delivery $delivery): \Throwable
    {
        $error = $delivery->error ?? new \RuntimeException('Messenger has rejected the message.');
        $causes = Judge::causes($error);

        return 1 === \count($causes) ? $causes[0] : $error;
    }

    /** No message of this queue can run here, until somebody acts: none may fail of it. */
    private static function notNow(\Throwable $error): Ending
    {
        return new Ending(Outcome::release(self::NOT_NOW_MS, $error)->pausingQueue(self::NOT_NOW_MS), $error);
    }

    private static function withId(Envelope $envelope, Job $job): Envelope
    {
        return '' === $job->id ? $envelope : $envelope->withoutAll(TransportMessageIdStamp::class)->with(new TransportMessageIdStamp($job->id));
    }

    private function logBehind(\Throwable $failure, Delivery $delivery): void
    {
        error_log((string) $failure);
        $this->logger?->error('Messenger\'s worker failed behind {class}: {error}', ['class' => $delivery->class(), 'error' => $failure->getMessage(), 'exception' => $failure, 'job' => $delivery->job->id]);
    }
}
