<?php

declare(strict_types=1);

namespace App\Handler;

use App\Message\Signed;

final class DoSigned
{
    public function __construct(private readonly Ledger $ledger)
    {
    }

    public function __invoke(Signed $signed): void
    {
        $before = $this->ledger->begin('DoSigned', $signed->name);
        match ($signed->action) {
            'ok' => null,
            'fails twice' => $before < 2 && throw new \DomainException('The seal is broken'),
            'fails' => throw new \DomainException('The seal is broken'),
            'exit' => exit(3),
        };
        $this->ledger->write('end', 'DoSigned', $signed->name);
    }
}
