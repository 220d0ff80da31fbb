<?php

declare(strict_types=1);

namespace App\EventListener;

use App\Event\OrderPlaced;
use App\Journal;
use Symfony\Component\EventDispatcher\Attribute\AsEventListener;

/** The customer is to know whether it worked: at once, in the request. */
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
