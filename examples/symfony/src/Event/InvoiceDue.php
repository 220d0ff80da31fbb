<?php

declare(strict_types=1);

namespace App\Event;

final class InvoiceDue
{
    public function __construct(public readonly int $order)
    {
    }
}
