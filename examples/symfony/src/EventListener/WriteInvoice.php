<?php

declare(strict_types=1);

namespace App\EventListener;

use App\Event\InvoiceDue;
use App\Journal;
use Symfony\Component\EventDispatcher\Attribute\AsEventListener;

/** A listener like any other. It runs in the worker because its event is deferred. */
#[AsEventListener('invoice.due')]
final class WriteInvoice
{
    public function __construct(private readonly Journal $journal)
    {
    }

    public function __invoke(InvoiceDue $event): void
    {
        $this->journal->write("order $event->order: invoice written");
    }
}
