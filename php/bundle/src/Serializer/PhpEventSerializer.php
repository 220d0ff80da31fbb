<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Serializer;

use Fervo\DeferredEventBundle\Exception\NotDeployedException;
use Fervo\DeferredEventBundle\Exception\UndecodablePayloadException;
use Fervo\DeferredEventBundle\Exception\UnserializableEventException;

/**
 * PHP's own serialize(), in base64.
 *
 * @internal
 */
final class PhpEventSerializer implements EventSerializerInterface
{
    /** @param list<string> $allowedClasses of the event and of all objects in it; [] = any */
    public function __construct(private readonly array $allowedClasses = [])
    {
    }

    public function serialize(object $event): string
    {
        try {
            $bytes = serialize($event);
        } catch (\Throwable $error) {
            $value = UnserializableValue::in($event, UnserializableValue::isUnserializable(...));

            throw $value?->exception($error) ?? new UnserializableEventException(sprintf('Cannot defer an event of the class "%s": %s', $event::class, $error->getMessage()), 0, $error);
        }
        // PHP turns a resource into the number 0 without a word; only where there is a 0 can there have been one.
        if (str_contains($bytes, 'i:0;') && null !== $resource = UnserializableValue::in($event, UnserializableValue::isResource(...))) {
            throw $resource->exception();
        }

        return base64_encode($bytes);
    }

    public function deserialize(string $data, ?string $class): object
    {
        $bytes = base64_decode($data, true);
        $event = false === $bytes ? null : $this->unserialize($bytes);
        if (!\is_object($event) || $event instanceof \__PHP_Incomplete_Class || $event::class !== ($class ?? $event::class)) {
            throw new UndecodablePayloadException(sprintf('The payload does not hold an event%s.', null === $class ? ' of a class that is allowed' : " of the class \"$class\""));
        }
        if ([] !== $this->allowedClasses && null !== $refused = UnserializableValue::in($event, UnserializableValue::isIncomplete(...))) {
            throw new NotDeployedException(sprintf('The event has an object at %s whose class is not in "fervo_deferred_event.allowed_classes".', $refused->path));
        }

        return $event;
    }

    private function unserialize(string $bytes): mixed
    {
        // An object of an unknown class would come back as a shell without methods, and fail much later.
        $callback = ini_set('unserialize_callback_func', self::class.'::refuseUnknownClass');
        set_error_handler(static function (int $level, string $message): bool {
            if (str_starts_with($message, 'unserialize()')) {
                throw new UndecodablePayloadException('The payload is no serialized event: '.$message);
            }

            return false;
        });
        try {
            return unserialize($bytes, ['allowed_classes' => $this->allowedClasses ?: true]);
        } finally {
            restore_error_handler();
            ini_set('unserialize_callback_func', (string) $callback);
        }
    }

    /** Called by PHP. */
    public static function refuseUnknownClass(string $class): never
    {
        throw new NotDeployedException(sprintf('The event holds an object of the class "%s", which is not there.', $class));
    }
}
