<?php

declare(strict_types=1);

namespace App\Event;

/** What the tests have done in the background. */
final class Task
{
    public readonly float $deferredAt;

    public function __construct(public readonly string $name, public readonly string $action = 'work')
    {
        $this->deferredAt = microtime(true);
    }

    /** Events of the bundle before version 1 had it, and were dispatched by it. */
    public function getName(): string
    {
        return 'task';
    }
}
