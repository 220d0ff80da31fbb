<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Fervo\Runner\Outcome;

/**
 * The outcome of a message.
 *
 * @internal
 */
final class Ending
{
    /**
     * @param \Throwable|null $error   what has to be in the log; null when Messenger has logged it, or nothing has failed
     * @param string|null     $class   of the message; null when it could not be decoded
     * @param bool            $isKnown Messenger has told its listeners
     */
    public function __construct(
        public readonly Outcome $outcome,
        public readonly ?\Throwable $error = null,
        public readonly ?string $class = null,
        public readonly bool $isKnown = false,
    ) {
    }
}
