<?php

declare(strict_types=1);

namespace App\Event;

final class OrderPlaced
{
    public function __construct(public readonly int $number)
    {
    }
}
