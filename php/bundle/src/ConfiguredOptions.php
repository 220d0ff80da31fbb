<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle;

/**
 * How events run as the configuration says: `events`, `listeners`, `queue`, `attempts`.
 *
 * @internal
 */
final class ConfiguredOptions
{
    public const QUEUE = 'default';

    /** @param array<string, DeferOptions> $configured by an event's name, its class, parents and interfaces, or a listener */
    public function __construct(private readonly DeferOptions $defaults, private readonly array $configured = [])
    {
    }

    /**
     * Completes what the code says.
     *
     * @param string      $class    the event's, if there is such a class
     * @param string|null $listener the one that it is for, as "service::method"
     */
    public function complete(?DeferOptions $options, string $name, string $class, ?string $listener): DeferOptions
    {
        return ($options ?? new DeferOptions())->orElse(...$this->of($name, $class, $listener));
    }

    /** @return array<string, DeferOptions> */
    public function all(): array
    {
        return array_map(fn (DeferOptions $options): DeferOptions => $options->orElse($this->defaults), $this->configured);
    }

    /** @return list<DeferOptions> the nearest first */
    private function of(string $name, string $class, ?string $listener): array
    {
        if ([] === $this->configured) {
            return [$this->defaults];
        }
        $isClass = class_exists($class) || interface_exists($class);
        $keys = [...(null === $listener ? [] : [$listener]), $name, $class, ...($isClass ? [...array_values(class_parents($class)), ...array_values(class_implements($class))] : [])];
        $found = array_map(fn (string $key): ?DeferOptions => $this->configured[$key] ?? null, $keys);

        return [...array_values(array_filter($found)), $this->defaults];
    }
}
