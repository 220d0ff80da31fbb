<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Payload;

use Fervo\DeferredEventBundle\Exception\UndecodablePayloadException;
use Fervo\DeferredEventBundle\Serializer\PhpEventSerializer;

/**
 * Payloads of FervoDeferredEventBundle before version 1: base64 of serialize($event), unsigned. UNSAFE: whoever can write
 * to the queue chooses what is unserialized. Only for the time of an upgrade, with `legacy.accept_unsigned`.
 *
 * @internal
 */
final class LegacyPayload
{
    public function __construct(private readonly PhpEventSerializer $serializer)
    {
    }

    /** @throws UndecodablePayloadException */
    public function decode(string $payload): DecodedEvent
    {
        $event = $this->serializer->deserialize(trim($payload), null);
        $name = method_exists($event, 'getName') ? $event->getName() : null;
        if (!\is_string($name) || '' === $name) {
            throw new UndecodablePayloadException(sprintf('The unsigned event of the class "%s" does not tell its name: it needs a method getName().', $event::class));
        }

        return new DecodedEvent($name, $event, isSigned: false);
    }
}
