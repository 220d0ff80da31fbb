<?php

declare(strict_types=1);

namespace App\Message;

/** What the tests have Messenger do in the background. */
abstract class Work
{
    public readonly float $sentAt;

    public function __construct(public readonly string $name, public readonly string $action, public readonly string $data)
    {
        $this->sentAt = microtime(true);
    }
}
