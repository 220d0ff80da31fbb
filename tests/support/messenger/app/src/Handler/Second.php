<?php

declare(strict_types=1);

namespace App\Handler;

use App\Message\Pair;

final class Second
{
    public function __construct(private readonly Ledger $ledger)
    {
    }

    public function __invoke(Pair $pair): void
    {
        $before = $this->ledger->begin('Second', $pair->name);
        if ('second fails' === $pair->action || 'second fails once' === $pair->action && $before < 1) {
            throw new \DomainException('The post office is closed');
        }
        $this->ledger->write('end', 'Second', $pair->name);
    }
}
