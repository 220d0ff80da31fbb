<?php

declare(strict_types=1);

namespace App\EventListener;

use App\Event\OrderPlaced;
use App\Journal;
use Fervo\DeferredEventBundle\Attribute\AsDeferredListener;

/** A second listener of the same event. The customer need not wait for it, so it runs in the worker. */
#[AsDeferredListener]
final class SendConfirmation
{
    public function __construct(private readonly Journal $journal)
    {
    }

    public function __invoke(OrderPlaced $event): void
    {
        $this->journal->write("order $event->number: confirmation sent");
    }
}
