<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

use Fervo\DeferredEventBundle\DeferredEventQueueInterface;
use Symfony\Component\Messenger\Event\WorkerMessageFailedEvent;
use Symfony\Component\Messenger\Event\WorkerMessageHandledEvent;
use Symfony\Component\Messenger\Event\WorkerMessageReceivedEvent;
use Symfony\Component\Messenger\Event\WorkerStartedEvent;
use Symfony\Component\Messenger\Exception\RecoverableMessageHandlingException;
use Symfony\Component\Messenger\Exception\StopWorkerException;
use Symfony\Component\Messenger\Exception\UnrecoverableMessageHandlingException;
use Symfony\Component\Messenger\MessageBusInterface;
use Symfony\Component\Messenger\Stamp\TransportMessageIdStamp;

/** Handlers of {@see Pay}, and what hangs on Messenger's events. */
final class Till
{
    /** @var list<string> */
    public array $seen = [];
    public ?string $lastId = null;
    public bool $stopsWorkers = false;
    public bool $isShut = false;
    public bool $throwsWhenStopped = false;

    public function __construct(
        private readonly MessageBusInterface $bus,
        private readonly DeferredEventQueueInterface $queue,
        private readonly Recorder $recorder,
        private readonly ?\Closure $connection = null,
    ) {
    }

    public function first(Pay $pay): void
    {
        $this->seen[] = $pay->what;
        $this->recorder->add($pay->what.' is the '.($this->recorder->seen() + 1).'. since a reset');
        match ($pay->what) {
            'throw' => throw new \DomainException('The till is shut'),
            'throw the other' => throw new \RangeException('Another'),
            'open till' => $this->isShut ? throw new UnrecoverableMessageHandlingException('Shut') : null,
            'a listener opens' => throw new \DomainException('The till is shut'),
            'never again', 'retried elsewhere' => throw new UnrecoverableMessageHandlingException('No such customer'),
            'recover' => throw new RecoverableMessageHandlingException('Later'),
            'stop' => throw new StopWorkerException('Stop'),
            'send' => $this->bus->dispatch(new Pay('sent by a handler')),
            'defer' => $this->queue->deferEvent(new OrderPlaced(7)),
            'defer and throw' => $this->deferAndThrow(),
            'open' => ($this->connection)()->beginTransaction(),
            'open and throw' => $this->openAndThrow(),
            'first defers, second throws' => $this->queue->deferEvent(new OrderPlaced(7)),
            'binary' => $this->seen[] = bin2hex($pay->data),
            default => null,
        };
    }

    public function second(Pay $pay): void
    {
        $this->seen[] = $pay->what.' (2)';
        if ('first defers, second throws' === $pay->what || 'second throws' === $pay->what) {
            throw new \DomainException('Second');
        }
    }

    public function started(WorkerStartedEvent $event): void
    {
        if ($this->stopsWorkers) {
            $event->getWorker()->stop();
        }
    }

    public function received(WorkerMessageReceivedEvent $event): void
    {
        $pay = $event->getEnvelope()->getMessage();
        $this->lastId = (string) $event->getEnvelope()->last(TransportMessageIdStamp::class)?->getId();
        if ($pay instanceof Pay && 'vetoed' === $pay->what) {
            $event->shouldHandle(false);
        }
        $this->seen[] = 'received by '.$event->getReceiverName();
    }

    public function handled(WorkerMessageHandledEvent $event): void
    {
        $this->seen[] = 'handled';
        $pay = $event->getEnvelope()->getMessage();
        if ($pay instanceof Pay && 'a listener defers' === $pay->what) {
            $this->queue->deferEvent(new OrderPlaced(7));
        }
        $this->throwAfter($event->getEnvelope()->getMessage(), 'listener of handled throws');
    }

    public function failed(WorkerMessageFailedEvent $event): void
    {
        $pay = $event->getEnvelope()->getMessage();
        if ($pay instanceof Pay && 'retried elsewhere' === $pay->what) {
            $event->setForRetry();
        }
        $this->seen[] = 'failed'.($event->willRetry() ? ', will retry' : '');
        $this->throwAfter($event->getEnvelope()->getMessage(), 'throw the other');
        if ($pay instanceof Pay && 'a listener opens' === $pay->what) {
            ($this->connection)()->beginTransaction();
        }
    }

    /** Behind the end of a message. */
    public function stopped(): void
    {
        if ($this->throwsWhenStopped) {
            throw new \LogicException('A listener of Messenger\'s worker failed');
        }
    }

    private function openAndThrow(): never
    {
        ($this->connection)()->beginTransaction();
        throw new \DomainException('within a transaction');
    }

    private function deferAndThrow(): never
    {
        $this->queue->deferEvent(new OrderPlaced(7));
        throw new \DomainException('after it has deferred');
    }

    private function throwAfter(object $message, string $what): void
    {
        if ($message instanceof Pay && $what === $message->what) {
            throw new \LogicException('A listener of Messenger\'s events failed');
        }
    }
}
