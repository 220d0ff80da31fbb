<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Serializer;

use Fervo\DeferredEventBundle\Exception\UndecodablePayloadException;
use Fervo\DeferredEventBundle\Exception\UnserializableEventException;
use Symfony\Component\Serializer\Exception\ExceptionInterface;
use Symfony\Component\Serializer\SerializerInterface;

/**
 * JSON by Symfony's Serializer: what the application's normalizers make of the event, by default what is public or has
 * a getter.
 *
 * @internal
 */
final class JsonEventSerializer implements EventSerializerInterface
{
    public function __construct(private readonly SerializerInterface $serializer)
    {
    }

    public function serialize(object $event): string
    {
        // Normalizers make something of anything, also of a closure: {}.
        if (null !== $value = UnserializableValue::inPublic($event)) {
            throw $value->exception();
        }
        try {
            // "propagationStopped" is of Symfony's Event, about the dispatching that is going on now.
            return $this->serializer->serialize($event, 'json', ['ignored_attributes' => ['propagationStopped']]);
        } catch (\Throwable $error) {
            throw new UnserializableEventException(sprintf('Cannot defer an event of the class "%s" as JSON: %s', $event::class, $error->getMessage()), 0, $error);
        }
    }

    public function deserialize(string $data, ?string $class): object
    {
        try {
            $event = $this->serializer->deserialize($data, (string) $class, 'json');
        } catch (ExceptionInterface $error) {
            throw new UndecodablePayloadException(sprintf('Cannot make an event of the class "%s" from its JSON: %s', $class, $error->getMessage()), 0, $error);
        }
        if (!\is_object($event)) {
            throw new UndecodablePayloadException(sprintf('The serializer made no object of the event of the class "%s".', $class));
        }

        return $event;
    }
}
