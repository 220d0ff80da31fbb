<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Symfony\Component\Messenger\Stamp\NonSendableStampInterface;

/**
 * Says which delivery of fervo-worker an envelope is, whatever the worker's listeners have added to it. No serializer sends it.
 *
 * @internal
 */
final class DeliveryStamp implements NonSendableStampInterface
{
    public function __construct(public readonly int $number)
    {
    }
}
