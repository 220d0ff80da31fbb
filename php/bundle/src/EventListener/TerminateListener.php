<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\EventListener;

use Fervo\DeferredEventBundle\Outbox;

/**
 * After the response has been sent, and when a console command has ended.
 *
 * @internal
 */
final class TerminateListener
{
    /** @param iterable<Outbox> $outboxes the one that there is, if it has been used */
    public function __construct(private readonly iterable $outboxes)
    {
    }

    public function __invoke(): void
    {
        foreach ($this->outboxes as $outbox) {
            $outbox->terminate();
        }
    }
}
