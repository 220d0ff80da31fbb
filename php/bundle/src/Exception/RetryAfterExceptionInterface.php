<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Exception;

/**
 * Thrown by a listener in the worker: try again, after a wait of its own instead of the one in the worker's configuration.
 *
 * Messenger's RecoverableExceptionInterface with a getRetryDelay() means the same.
 */
interface RetryAfterExceptionInterface extends \Throwable
{
    /** In milliseconds. */
    public function getRetryDelay(): int;
}
