<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Exception;

/**
 * Thrown by a listener in the worker: to try again would not help. The job goes to the dead letters at once.
 *
 * Messenger's interface of the same name means the same.
 */
interface UnrecoverableExceptionInterface extends \Throwable
{
}
