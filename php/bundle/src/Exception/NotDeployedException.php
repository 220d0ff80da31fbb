<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Exception;

/**
 * The payload is well signed or well formed, and something that it needs is not there: its class, its listener, its key, its
 * format. In the middle of a deployment, it may be in a minute; so the job is tried again before it is buried.
 */
final class NotDeployedException extends \RuntimeException implements ExceptionInterface
{
}
