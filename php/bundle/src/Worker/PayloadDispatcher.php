<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Worker;

use Fervo\DeferredEventBundle\Context\Context;
use Fervo\DeferredEventBundle\Exception\InvalidSignatureException;
use Fervo\DeferredEventBundle\Exception\NotDeployedException;
use Fervo\DeferredEventBundle\Exception\UndecodablePayloadException;
use Fervo\DeferredEventBundle\Messenger\MessageRunner;
use Fervo\DeferredEventBundle\Payload\DecodedEvent;
use Fervo\DeferredEventBundle\Payload\PayloadCodec;
use Fervo\DeferredEventBundle\Payload\Signer;
use Fervo\Runner\Job;
use Psr\Container\ContainerInterface;
use Psr\Log\LoggerInterface;
use Symfony\Component\EventDispatcher\EventDispatcherInterface;

/**
 * Verifies and decodes a payload, and dispatches its event: to all its listeners, or to the one that it names. A message of
 * Messenger is handled as sync:// does it, for backends that run jobs in this process.
 *
 * @internal
 */
final class PayloadDispatcher
{
    /**
     * @param ContainerInterface               $listeners "service::method" => the service; nothing else can be called
     * @param \Closure(): LoggerInterface      $logger
     * @param (\Closure(): Relay)|null         $relay     with `send: transactional`
     * @param (\Closure(): Context)|null       $context
     * @param (\Closure(): MessageRunner)|null $messages  where Messenger is enabled
     */
    public function __construct(
        private readonly PayloadCodec $codec,
        private readonly EventDispatcherInterface $dispatcher,
        private readonly ContainerInterface $listeners,
        private readonly \Closure $logger,
        private readonly ?\Closure $relay = null,
        private readonly ?\Closure $context = null,
        private readonly ?\Closure $messages = null,
    ) {
    }

    /**
     * @param (\Closure(DecodedEvent): void)|null $before   called with what is dispatched then
     * @param JobBoundary|null                    $boundary in a job; the event's context lasts until that has ended, too
     *
     * @throws InvalidSignatureException
     * @throws NotDeployedException
     * @throws UndecodablePayloadException
     * @throws \Throwable                  whatever a listener throws
     */
    public function dispatch(string $payload, ?\Closure $before = null, ?JobBoundary $boundary = null): void
    {
        $undo = null;
        $work = function () use ($payload, $before, &$undo): void {
            $this->work($payload, $before, $undo);
        };
        try {
            null === $boundary ? $work() : $boundary->around($work);
        } finally {
            if (null !== $undo) {
                $undo();
            }
        }
    }

    /**
     * @param (\Closure(DecodedEvent): void)|null $before
     * @param (\Closure(): void)|null             $undo   takes the context away
     */
    private function work(string $payload, ?\Closure $before, ?\Closure &$undo): void
    {
        if (null !== $this->relay && Relay::PAYLOAD === trim($payload)) {
            ($this->relay)()->run();

            return;
        }
        if (null !== $this->messages && Signer::isMessage($payload)) {
            $messages = ($this->messages)();
            $messages->handle($messages->read($payload));

            return;
        }
        $decoded = $this->codec->decode($payload);
        if ([] !== $decoded->context && null !== $this->context) {
            $undo = ($this->context)()->restore($decoded->context);
        }
        if (null !== $before) {
            $before($decoded);
        }
        if (!$decoded->isSigned) {
            $this->warn('Accepted the unsigned event "{event}": UNSAFE, switch "legacy.accept_unsigned" off when the old queue is empty', $decoded);
        }

        if (null === $decoded->listener) {
            if (!$this->dispatcher->hasListeners($decoded->name)) {
                $this->warn('Nobody listens to the deferred event "{event}"', $decoded);
            }
            $this->dispatcher->dispatch($decoded->event, $decoded->name);

            return;
        }

        if (!$this->listeners->has($decoded->listener)) {
            throw new NotDeployedException(sprintf('There is no deferred listener "%s" for the event "%s"; "debug:fervo" lists those that are there.', $decoded->listener, $decoded->name));
        }
        $method = substr($decoded->listener, strrpos($decoded->listener, '::') + 2);
        $this->listeners->get($decoded->listener)->$method($decoded->event, $decoded->name, $this->dispatcher);
    }

    private function warn(string $message, DecodedEvent $decoded): void
    {
        // Without the backend's queue, the event runs in a request or a command of the application.
        $job = isset($_SERVER['FERVO_JOB_ID']) ? JobRunner::context(Job::fromParams($_SERVER, '')) : [];
        ($this->logger)()->warning($message, $job + ['event' => $decoded->name, 'listener' => $decoded->listener]);
    }
}
