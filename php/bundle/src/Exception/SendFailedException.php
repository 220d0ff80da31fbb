<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Exception;

use Fervo\DeferredEventBundle\Backend\DeferredJob;

/** Jobs are not in the queue: it cannot be reached, or it refuses them. */
final class SendFailedException extends \RuntimeException implements ExceptionInterface
{
    /**
     * @param list<DeferredJob> $unsentJobs those of the call that are not, or maybe not, in the queue
     * @param bool              $isRefusal  the queue is there, and takes none of these, whatever the time; others it may take
     */
    public function __construct(string $message, public readonly array $unsentJobs, ?\Throwable $previous = null, public readonly bool $isRefusal = false)
    {
        parent::__construct($message, 0, $previous);
    }
}
