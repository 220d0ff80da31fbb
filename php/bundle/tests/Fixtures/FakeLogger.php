<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

use Psr\Log\AbstractLogger;

final class FakeLogger extends AbstractLogger
{
    /** @var list<string> */
    public array $lines = [];

    public function __construct(private readonly bool $echoes = false)
    {
    }

    public function log($level, $message, array $context = []): void
    {
        if ('info' === $level) {
            return;
        }
        $this->lines[] = "$level: $message [".($context['reason'] ?? $context['event'] ?? '').']';
        if ($this->echoes) {
            echo end($this->lines), "\n";
        }
    }
}
