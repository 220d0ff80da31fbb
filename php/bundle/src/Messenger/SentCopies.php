<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

/**
 * Whether Messenger has sent the message of the running job elsewhere: for a further attempt, or to its failure transport. It is
 * seen, not concluded from the configuration.
 *
 * @internal
 */
final class SentCopies
{
    private int $count = 0;

    public function sent(): void
    {
        ++$this->count;
    }

    public function count(): int
    {
        return $this->count;
    }
}
