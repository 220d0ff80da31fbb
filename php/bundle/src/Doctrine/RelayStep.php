<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Doctrine;

use Fervo\DeferredEventBundle\Exception\SendFailedException;

/**
 * What one transaction of the relay has moved from the table to the queue.
 *
 * @internal
 */
final class RelayStep
{
    /**
     * @param int                      $taken   how many events it has tried
     * @param int                      $moved   how many of these the queue has taken; the others stay
     * @param int                      $last    the id of the last one, behind which the next step begins
     * @param bool                     $hasMore there may be some behind it
     * @param SendFailedException|null $failure why some stay
     */
    public function __construct(
        public readonly int $taken = 0,
        public readonly int $moved = 0,
        public readonly int $last = 0,
        public readonly bool $hasMore = false,
        public readonly ?SendFailedException $failure = null,
    ) {
    }

    /** Else whoever comes behind would fare the same. */
    public function isQueueThere(): bool
    {
        return $this->moved > 0 || null === $this->failure || $this->failure->isRefusal;
    }
}
