<?php

declare(strict_types=1);

namespace App\Handler;

use App\Message\Pair;

final class First
{
    public function __construct(private readonly Ledger $ledger)
    {
    }

    public function __invoke(Pair $pair): string
    {
        $before = $this->ledger->begin('First', $pair->name);
        if ('first fails' === $pair->action && $before < 1) {
            throw new \DomainException('The printer is warming up');
        }
        $this->ledger->write('end', 'First', $pair->name);

        return 'printed';
    }
}
