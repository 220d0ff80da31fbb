<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Serializer;

use Fervo\DeferredEventBundle\Exception\UnserializableEventException;

/**
 * What keeps an event from being serialized, and where it is: `App\Event\Foo::$mailer->callback`.
 *
 * @internal
 */
final class UnserializableValue
{
    private function __construct(
        public readonly string $path,
        public readonly mixed $value,
    ) {
    }

    /**
     * The deepest value of the object, or of what serialize() would take of it, that the test holds true for.
     *
     * @param \Closure(mixed): bool $test
     */
    public static function in(object $object, \Closure $test): ?self
    {
        $seen = new \SplObjectStorage();

        return self::search($object, $object::class, $test, self::serializedProperties(...), $seen);
    }

    /** As in(), of what everybody can read: closures and resources that a normalizer would make a poor thing of. */
    public static function inPublic(object $object): ?self
    {
        $seen = new \SplObjectStorage();
        $test = static fn (mixed $value): bool => self::isResource($value) || $value instanceof \Closure;

        return self::search($object, $object::class, $test, self::publicProperties(...), $seen);
    }

    public static function isResource(mixed $value): bool
    {
        return \is_resource($value) || 'resource (closed)' === \gettype($value);
    }

    public static function isIncomplete(mixed $value): bool
    {
        return $value instanceof \__PHP_Incomplete_Class;
    }

    public static function isUnserializable(mixed $value): bool
    {
        if (!\is_object($value)) {
            return self::isResource($value);
        }
        try {
            serialize($value);

            return false;
        } catch (\Throwable) {
            return true;
        }
    }

    public function exception(?\Throwable $previous = null): UnserializableEventException
    {
        $what = match (true) {
            $this->value instanceof \Closure => 'a closure',
            self::isResource($this->value) => 'a resource',
            \is_object($this->value) && str_contains($this->value::class, '@anonymous') => 'an object of an anonymous class',
            default => sprintf('an object of the class "%s", which cannot be serialized%s', get_debug_type($this->value), null === $previous ? '' : ' ('.$previous->getMessage().')'),
        };

        return new UnserializableEventException(sprintf('Cannot defer the event: %s is %s. It has to travel to another process: give the event an id or plain data instead, and let the listener get the rest.', $this->path, $what), 0, $previous);
    }

    /** @param \SplObjectStorage<object, null> $seen */
    private static function search(mixed $value, string $path, \Closure $test, \Closure $properties, \SplObjectStorage $seen): ?self
    {
        // An array that holds itself by reference has no end.
        if (\strlen($path) > 4096) {
            return null;
        }
        $children = [];
        if (\is_array($value)) {
            foreach ($value as $key => $child) {
                $children[$path.'['.(\is_int($key) ? $key : "'$key'").']'] = $child;
            }
        } elseif (\is_object($value) && !$value instanceof \Closure) {
            if ($seen->offsetExists($value)) {
                return null;
            }
            $seen->offsetSet($value, null);
            $separator = 0 < \count($seen) - 1 ? '->' : '::$';
            foreach ($properties($value) as $name => $child) {
                $children[$path.$separator.self::nameOf($name)] = $child;
            }
        }
        foreach ($children as $childPath => $child) {
            if (null !== $found = self::search($child, $childPath, $test, $properties, $seen)) {
                return $found;
            }
        }

        return $test($value) ? new self($path, $value) : null;
    }

    /** @return array<string, mixed> */
    private static function serializedProperties(object $object): array
    {
        try {
            if (method_exists($object, '__serialize')) {
                return $object->__serialize();
            }
            $names = method_exists($object, '__sleep') ? $object->__sleep() : null;
        } catch (\Throwable) {
            return [];
        }
        $properties = [];
        foreach ((array) $object as $key => $value) {
            $name = self::nameOf($key);
            if (null === $names || \in_array($name, $names, true) || \in_array($key, $names, true)) {
                $properties[$name] = $value;
            }
        }

        return $properties;
    }

    /** Without the class, which (array), and a __serialize() that is made with it, have for private properties: "\0App\Base\0name". */
    private static function nameOf(int|string $key): string
    {
        return substr((string) $key, (int) strrpos("\0".$key, "\0"));
    }

    /** @return array<string, mixed> */
    private static function publicProperties(object $object): array
    {
        // The keys of what is not public begin with a NUL byte.
        return array_filter((array) $object, static fn (int|string $key): bool => !str_starts_with((string) $key, "\0"), \ARRAY_FILTER_USE_KEY);
    }
}
