<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Payload;

use Fervo\DeferredEventBundle\Exception\InvalidSignatureException;
use Fervo\DeferredEventBundle\Exception\NotDeployedException;
use Fervo\DeferredEventBundle\Exception\UndecodablePayloadException;
use Fervo\DeferredEventBundle\Exception\UnserializableEventException;
use Fervo\DeferredEventBundle\Serializer\EventSerializerInterface;
use Psr\Container\ContainerInterface;

/**
 * Event <-> payload. Under the signature's line, a payload is a JSON object:
 *
 *     {"event": "foo.action", "class": "App\\Event\\Foo", "format": "php", "data": "…", "listener": {"service": "…", "method": "…"}}
 *
 * `data` is text: base64 of serialize() for "php", JSON for "json". `listener` is there when only that one is to be called, and
 * `context` (an object) when something of the request travels along, by its carriers' names.
 *
 * @internal
 */
final class PayloadCodec
{
    /**
     * @param ContainerInterface $serializers    format => EventSerializerInterface
     * @param list<string>       $allowedClasses what events and the objects in them may be; [] = anything
     */
    public function __construct(
        private readonly Signer $signer,
        private readonly ContainerInterface $serializers,
        private readonly string $format,
        private readonly array $allowedClasses = [],
        private readonly ?LegacyPayload $legacy = null,
    ) {
    }

    /**
     * @param array<string, array<mixed>|bool|float|int|string> $context
     *
     * @throws UnserializableEventException
     */
    public function encode(string $name, object $event, ?string $listener = null, array $context = []): string
    {
        $class = $event::class;
        if ([] !== $this->allowedClasses && !\in_array($class, $this->allowedClasses, true)) {
            throw new UnserializableEventException(sprintf('Cannot defer an event of the class "%s": add it to "fervo_deferred_event.allowed_classes".', $class));
        }
        if (null === $listener) {
            StoppedEvent::refuse($event);
        }
        $body = ['event' => $name, 'class' => $class, 'format' => $this->format, 'data' => $this->serializer($this->format)->serialize($event)];
        if (null !== $listener) {
            [$service, $method] = explode('::', $listener, 2);
            $body['listener'] = ['service' => $service, 'method' => $method];
        }
        if ([] !== $context) {
            $body['context'] = $context;
        }

        return $this->signer->sign(json_encode($body, \JSON_THROW_ON_ERROR | \JSON_UNESCAPED_SLASHES | \JSON_UNESCAPED_UNICODE | \JSON_PRESERVE_ZERO_FRACTION));
    }

    /**
     * @throws InvalidSignatureException
     * @throws NotDeployedException
     * @throws UndecodablePayloadException
     */
    public function decode(string $payload): DecodedEvent
    {
        if (null !== $this->legacy && !str_starts_with($payload, Signer::EVENT)) {
            return $this->legacy->decode($payload);
        }

        $body = json_decode($this->signer->verify($payload), true);
        $name = $body['event'] ?? null;
        $class = $body['class'] ?? null;
        $data = $body['data'] ?? null;
        $format = $body['format'] ?? null;
        $context = $body['context'] ?? [];
        if (!\is_string($name) || !\is_string($class) || !\is_string($data) || !\is_string($format) || !\is_array($context)) {
            throw new UndecodablePayloadException('The payload is signed, and is no deferred event.');
        }
        if (!$this->serializers->has($format)) {
            throw new NotDeployedException(sprintf('The payload has the format "%s", which this version of the bundle does not know, or whose serializer is not enabled.', $format));
        }
        if (!class_exists($class)) {
            throw new NotDeployedException(sprintf('The class "%s" of the event "%s" is not there.', $class, $name));
        }
        if ([] !== $this->allowedClasses && !\in_array($class, $this->allowedClasses, true)) {
            throw new NotDeployedException(sprintf('The class "%s" of the event "%s" is not in "fervo_deferred_event.allowed_classes".', $class, $name));
        }
        $event = $this->serializer($format)->deserialize($data, $class);
        StoppedEvent::resume($event);
        $listener = isset($body['listener']) ? $body['listener']['service'].'::'.$body['listener']['method'] : null;

        return new DecodedEvent($name, $event, $listener, context: $context);
    }

    private function serializer(string $format): EventSerializerInterface
    {
        return $this->serializers->get($format);
    }
}
