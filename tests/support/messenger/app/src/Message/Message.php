<?php

declare(strict_types=1);

namespace App\Message;

/** What all messages have: a name by which the ledger and the table's history know it, and its transport. */
abstract class Message
{
    public function __construct(
        public readonly string $name,
        public readonly string $transport,
        public readonly string $action,
    ) {
    }
}
