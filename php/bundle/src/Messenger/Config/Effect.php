<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger\Config;

/**
 * What becomes of an option of Messenger when fervo-worker takes the messages.
 *
 * @internal
 */
enum Effect: string
{
    /** The worker's configuration has it. */
    case Mapped = 'mapped';
    /** The application obeys it itself, as before. */
    case Kept = 'kept';
    /** It is about the command messenger:consume. */
    case None = 'without effect';
    /** The worker cannot do the same. */
    case Refused = 'refused';
}
