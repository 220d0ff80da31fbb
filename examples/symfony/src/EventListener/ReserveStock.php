<?php

declare(strict_types=1);

namespace App\EventListener;

use App\Event\OrderPlaced;
use App\Journal;
use Symfony\Component\EventDispatcher\Attribute\AsEventListener;

/** This listener runs at once, in the request, because the customer must know the result. */
#[AsEventListener]
final class ReserveStock
{
    public function __construct(private readonly Journal $journal)
    {
    }

    public function __invoke(OrderPlaced $event): void
    {
        $this->journal->write("order $event->number: stock reserved");
    }
}
