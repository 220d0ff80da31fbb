<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Fervo\DeferredEventBundle\Exception\InvalidSignatureException;
use Fervo\DeferredEventBundle\Exception\NotDeployedException;
use Fervo\DeferredEventBundle\Exception\OpenTransactionException;
use Fervo\DeferredEventBundle\Exception\UndecodablePayloadException;
use Fervo\DeferredEventBundle\Worker\JobBoundary;
use Fervo\Runner\Job;
use Psr\Container\ContainerInterface;
use Psr\Log\LoggerInterface;
use Symfony\Component\EventDispatcher\EventDispatcherInterface;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\MessageBusInterface;
use Symfony\Component\Messenger\Stamp\ReceivedStamp;
use Symfony\Component\Messenger\Stamp\TransportMessageIdStamp;
use Symfony\Component\Messenger\Worker;

/**
 * Has a message handled by Messenger's own worker, which gets this one message and ends. So its events, middlewares, retries and
 * failure transport are what the application has made of them; fervo-worker is told what became of the job.
 *
 * @internal
 */
final class MessageRunner
{
    /** @param ContainerInterface $serializers a transport's name => its serializer */
    public function __construct(
        private readonly MessageCodec $codec,
        private readonly ContainerInterface $serializers,
        private readonly MessageBusInterface $bus,
        private readonly EventDispatcherInterface $dispatcher,
        private readonly SentCopies $copies,
        private readonly JobBoundary $boundary,
        private readonly ?LoggerInterface $logger = null,
    ) {
    }

    /**
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
     * In the worker's place. It is done when the message was handled, and also when it is somewhere else: in the queue for a
     * further attempt, or in the failure transport.
     *
     * @return \Throwable|null why Messenger has rejected the message for good, so that it is nowhere else; null = done
     *
     * @throws \Throwable when Messenger's worker came to no end with it
     */
    public function work(EncodedMessage $message, Job $job): ?\Throwable
    {
        $envelope = $this->envelope($message);
        if ('' !== $job->id) {
            $envelope = $envelope->withoutAll(TransportMessageIdStamp::class)->with(new TransportMessageIdStamp($job->id));
        }
        SignalListeners::removeWhereThereAreNoSignals($this->dispatcher);
        $one = new OneMessage($envelope);
        $events = new WatchedDispatcher($this->dispatcher);
        $bus = new JobBus($this->bus, $this->boundary);
        $worker = new Worker([$message->transport => $one], $bus, $events, $this->logger);
        $one->endsWith($worker);
        $before = $this->copies->count();
        $failure = null;
        try {
            $this->boundary->during(static fn () => $worker->run(['sleep' => 0]));
        } catch (\Throwable $failure) {
        } finally {
            // What a listener of the worker's events has left.
            $left = $this->boundary->rollBack();
        }

        // What listeners have deferred is sent before the message is done, as what a handler has, and dropped when it runs again.
        return $this->boundary->around(fn (): ?\Throwable => $this->conclude($message, $job, $one, $events, $bus, $before < $this->copies->count(), $left, $failure));
    }

    /**
     * @param bool         $isCopied whether Messenger has sent a copy elsewhere
     * @param list<string> $left     connections on which a listener has left a transaction open
     *
     * @throws \Throwable
     */
    private function conclude(EncodedMessage $message, Job $job, OneMessage $one, WatchedDispatcher $events, JobBus $bus, bool $isCopied, array $left, ?\Throwable $failure): ?\Throwable
    {
        // A listener of the application may have its own way of trying again. Messenger rejects the message then, or acknowledges it.
        $isElsewhere = $isCopied || $events->willRetry;
        if ($isElsewhere && [] !== $left) {
            // The copy may have been written into it. Twice is better than not at all.
            throw new OpenTransactionException($left);
        }
        // A batch handler may have acknowledged the message before what it did was undone.
        $isDone = $one->isAcknowledged && null === $events->error && null === $bus->undone;
        if (!$isElsewhere && !$isDone && !$one->isRejected && null !== $error = $failure ?? $bus->undone) {
            throw $error;
        }
        if (null !== $failure) {
            // What has become of the message is certain: to run it again would do it twice.
            error_log((string) $failure);
            $this->logger?->error('Messenger\'s worker failed behind {class}: {error}', ['class' => $message->class, 'error' => $failure->getMessage(), 'exception' => $failure, 'job' => $job->id]);
        }
        if ([] !== $left) {
            $this->logger?->error('A listener of Messenger\'s worker left a transaction open, which is rolled back: {connections}', ['connections' => implode(', ', $left), 'class' => $message->class, 'job' => $job->id]);
        }
        if ($isElsewhere || $isDone) {
            return null;
        }
        if ($one->isRejected) {
            return $events->error ?? new \RuntimeException('Messenger has rejected the message.');
        }

        $reason = match (true) {
            !$one->isGiven => 'Messenger\'s worker was stopped by a listener before it took a message of the class "%s".',
            $events->isVetoed => 'A listener of WorkerMessageReceivedEvent did not let a message of the class "%s" be handled.',
            default => 'A message of the class "%s" was neither acknowledged nor rejected: a batch handler has to do so with each.',
        };

        throw new \RuntimeException(sprintf($reason, $message->class));
    }
}
