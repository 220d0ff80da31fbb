<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

final class SignedWork
{
    /** @param \ArrayObject<int, string> $message */
    public function __invoke(\ArrayObject $message): void
    {
        if ('throw' === $message[0]) {
            throw new \DomainException('as told');
        }
    }
}
