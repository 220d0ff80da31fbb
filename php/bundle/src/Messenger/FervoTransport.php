<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Fervo\DeferredEventBundle\Backend\BackendInterface;
use Fervo\DeferredEventBundle\Backend\DatabaseBackend;
use Fervo\DeferredEventBundle\Backend\DeferredJob;
use Fervo\DeferredEventBundle\Backend\ReplaceableBackendInterface;
use Fervo\DeferredEventBundle\DeferOptions;
use Fervo\DeferredEventBundle\Exception\SendFailedException;
use Fervo\DeferredEventBundle\Outbox;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Exception\LogicException;
use Symfony\Component\Messenger\Exception\TransportException;
use Symfony\Component\Messenger\Stamp\DelayStamp;
use Symfony\Component\Messenger\Stamp\RedeliveryStamp;
use Symfony\Component\Messenger\Transport\Serialization\SerializerInterface;
use Symfony\Component\Messenger\Transport\TransportInterface;

/**
 * A transport of Messenger whose messages are jobs of fervo-worker. It sends; what Messenger's own worker would receive,
 * fervo-worker brings to the front controller ({@see MessageRunner}).
 *
 * @internal
 */
final class FervoTransport implements TransportInterface
{
    /** Some 31,000 years, what the worker's queue can store. */
    private const MAX_DELAY_MS = 1_000_000_000_000_000;

    /** The answer with a longer message would not fit into what the worker keeps of an answer (`max_response_bytes`). */
    private const MAX_REPLACEMENT_BYTES = 524_288;

    /** @param DeferOptions $options with a queue */
    public function __construct(
        private readonly string $name,
        private readonly DeferOptions $options,
        private readonly SerializerInterface $serializer,
        private readonly MessageCodec $codec,
        private readonly Outbox $outbox,
        private readonly BackendInterface $backend,
    ) {
    }

    /** The message as the backend would put it into the queue, for the worker to do so; null when only we can. */
    public function message(Envelope $envelope): ?string
    {
        $message = $this->backend instanceof ReplaceableBackendInterface ? $this->backend->message($this->job($envelope)) : null;

        return null === $message || \strlen($message) > self::MAX_REPLACEMENT_BYTES ? null : $message;
    }

    /**
     * A new message waits for the commit or for terminate() as events do (`send` of the configuration). A copy for the failure transport,
     * or for a further attempt, goes to the queue at once: what it is a copy of is removed when we return.
     */
    public function send(Envelope $envelope): Envelope
    {
        $job = $this->job($envelope);
        try {
            if (null === $envelope->last(RedeliveryStamp::class)) {
                $this->outbox->add($job);
            } elseif ($this->backend instanceof DatabaseBackend && $this->backend->isWithoutAutoCommit()) {
                // It would be undone with what the handlers have left uncommitted.
                throw new SendFailedException('The connection has no auto-commit, so nobody would commit the copy of a message: have the backend use another connection', [$job]);
            } else {
                $this->backend->send($job);
            }
        } catch (SendFailedException $failure) {
            throw new TransportException(sprintf('Cannot send a message of the class "%s" by the transport "%s": %s', $job->eventClass, $this->name, $failure->getMessage()), 0, $failure);
        }

        return $envelope;
    }

    public function get(): iterable
    {
        throw $this->notHere();
    }

    public function ack(Envelope $envelope): void
    {
        throw $this->notHere();
    }

    public function reject(Envelope $envelope): void
    {
        throw $this->notHere();
    }

    private function job(Envelope $envelope): DeferredJob
    {
        $class = $envelope->getMessage()::class;
        $encoded = $this->serializer->encode($envelope);
        $delay = $envelope->last(DelayStamp::class);
        $delayMs = $delay instanceof DelayStamp ? min($delay->getDelay(), self::MAX_DELAY_MS) : 0;

        return new DeferredJob(
            payload: $this->codec->encode(new EncodedMessage($class, $this->name, ['body' => $encoded['body'], 'headers' => $encoded['headers'] ?? []])),
            queue: $this->options->queue ?? 'default',
            notBeforeMs: $delayMs > 0 ? (int) (microtime(true) * 1000) + $delayMs : null,
            priority: $this->options->priority ?? 0,
            attempts: $this->options->attempts,
            eventName: $class,
            eventClass: $class,
        );
    }

    private function notHere(): LogicException
    {
        return new LogicException(sprintf('The messages of the transport "%1$s" (fervo://) are in a queue of fervo-worker, which runs them on PHP-FPM: start "fervo-worker run" in the place of "messenger:consume %1$s".', $this->name));
    }
}
