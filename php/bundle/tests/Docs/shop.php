<?php

declare(strict_types=1);

/*
 * The shop of docs/: what is shown there is taken from here.
 */

namespace Fervo\DeferredEventBundle\Tests\Docs;

use Fervo\DeferredEventBundle\Attribute\AsDeferredListener;
use Fervo\DeferredEventBundle\DeferOptions;
use Fervo\DeferredEventBundle\DeferredEventQueueInterface;
use Fervo\DeferredEventBundle\Event\JobFailed;
use Fervo\DeferredEventBundle\Exception\RetryAfterException;
use Fervo\DeferredEventBundle\Exception\UnrecoverableException;
use Symfony\Contracts\EventDispatcher\EventDispatcherInterface;

final class OrderPlaced
{
    public function __construct(public readonly int $id)
    {
    }
}

final class OrderForgotten
{
    public function __construct(public readonly int $id)
    {
    }
}

final class Checkout
{
    public function __construct(
        private readonly EventDispatcherInterface $dispatcher,
        private readonly DeferredEventQueueInterface $queue,
    ) {
    }

    public function place(int $id): void
    {
        // Each of its deferred listeners becomes a job.
        $this->dispatcher->dispatch(new OrderPlaced($id));
        // All listeners of the event in one job, in an hour.
        $this->queue->deferEvent(new OrderForgotten($id), options: new DeferOptions(delay: 3600));
    }
}

final class Invoices
{
    public function __construct(private readonly Mailbox $mailbox)
    {
    }

    #[AsDeferredListener(queue: 'mail', attempts: 5)]
    public function onOrderPlaced(OrderPlaced $event): void
    {
        if ($event->id < 0) {
            throw new UnrecoverableException('There is no such order.');
        }
        if ($this->mailbox->isFull) {
            throw new RetryAfterException(60);
        }
        $this->mailbox->sent[] = 'invoice of order '.$event->id;
    }
}

final class Mailbox
{
    /** @var list<string> */
    public array $sent = [];
    public bool $isFull = false;
}

final class Alarm
{
    /** @var list<string> */
    public array $rung = [];

    public function __invoke(JobFailed $failed): void
    {
        if (!$failed->willRetry) {
            $this->rung[] = sprintf('%s of %s: %s', $failed->eventName, $failed->job->queue, $failed->error->getMessage());
        }
    }
}
