<?php

declare(strict_types=1);

namespace App\Message;

final class Note
{
    public function __construct(public readonly string $text)
    {
    }
}
