<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Context;

use Fervo\DeferredEventBundle\Exception\NotDeployedException;
use Fervo\DeferredEventBundle\Exception\UnserializableEventException;
use Psr\Container\ContainerInterface;

/**
 * Takes along with an event what its listeners need of the request.
 *
 * @internal
 */
final class Context
{
    /**
     * @param ContainerInterface $carriers name => ContextCarrierInterface
     * @param list<string>       $captured the names of those that travel with each event
     */
    public function __construct(private readonly ContainerInterface $carriers, private readonly array $captured)
    {
    }

    /**
     * @return array<string, array<mixed>|bool|float|int|string> by the carriers' names
     *
     * @throws UnserializableEventException
     */
    public function capture(): array
    {
        $context = [];
        foreach ($this->captured as $name) {
            $value = $this->carrier($name)->capture();
            if (null !== $value) {
                self::check($name, $value);
                $context[$name] = $value;
            }
        }

        return $context;
    }

    /**
     * @param array<string, array<mixed>|bool|float|int|string> $context as of capture()
     *
     * @return \Closure(): void puts back what was there before
     *
     * @throws NotDeployedException
     */
    public function restore(array $context): \Closure
    {
        $undo = [];
        try {
            foreach ($context as $name => $value) {
                if (!$this->carriers->has($name)) {
                    // To run without it might be to run for another tenant.
                    throw new NotDeployedException(sprintf('The event was deferred with the context "%s", for which there is no carrier here.', $name));
                }
                $undo[] = $this->carrier($name)->restore($value);
            }
        } catch (\Throwable $error) {
            self::undo($undo);
            throw $error;
        }

        return static fn () => self::undo($undo);
    }

    /**
     * All of it, also where one fails. The job has had its outcome by now: what fails here must not run it again.
     *
     * @param list<\Closure(): void> $undo
     */
    private static function undo(array $undo): void
    {
        foreach (array_reverse($undo) as $one) {
            try {
                $one();
            } catch (\Throwable $error) {
                error_log((string) $error);
            }
        }
    }

    private function carrier(string $name): ContextCarrierInterface
    {
        return $this->carriers->get($name);
    }

    /** An object would come back as an array. */
    private static function check(string $name, mixed $value): void
    {
        $isPlain = true;
        $values = [$value];
        array_walk_recursive($values, static function (mixed $one) use (&$isPlain): void {
            $isPlain = $isPlain && (null === $one || \is_scalar($one));
        });
        if (!$isPlain || false === json_encode($value)) {
            throw new UnserializableEventException(sprintf('Cannot defer the event: the context "%s" is no plain data in UTF-8.', $name));
        }
    }
}
