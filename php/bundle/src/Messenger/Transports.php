<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Symfony\Contracts\Service\ServiceProviderInterface;

/**
 * Messenger's transports, as the configuration describes them. Each is read when it is asked for: a DSN may need a variable that is not
 * set here, and that concerns no other transport.
 *
 * @internal
 */
final class Transports
{
    /** Stores of locks that other machines, and some that other processes, do not see. */
    private const LOCAL_LOCKS = ['flock', 'semaphore', 'in-memory', 'null'];

    /**
     * @param ServiceProviderInterface<Transport>                 $transports by name
     * @param ServiceProviderInterface<\ArrayObject<int, string>> $locks      the DSNs of the default lock's stores
     * @param list<string>                                        $failure    the failure transports
     */
    public function __construct(
        private readonly ServiceProviderInterface $transports,
        private readonly ServiceProviderInterface $locks,
        private readonly array $failure = [],
    ) {
    }

    /** @return list<string> */
    public function names(): array
    {
        return array_map(strval(...), array_keys($this->transports->getProvidedServices()));
    }

    /** @throws \Throwable when a variable of its DSN is not set */
    public function get(string $name): Transport
    {
        return $this->transports->get($name);
    }

    /**
     * The transports whose messages have failed for good. No worker consumes them: people do, by messenger:failed:retry.
     *
     * @return list<string>
     */
    public function failure(): array
    {
        return $this->failure;
    }

    /**
     * For the worker's check, without secrets. What cannot be read says why.
     *
     * @return array<string, array<string, string|int|bool|null>> by name
     */
    public function facts(): array
    {
        $facts = [];
        foreach ($this->names() as $name) {
            try {
                $facts[$name] = $this->get($name)->facts();
            } catch (\Throwable $error) {
                $facts[$name] = ['error' => $error->getMessage()];
            }
        }

        return $facts;
    }

    /**
     * Of the locks that DeduplicateStamp, rate limiters and the Scheduler use: of which kind their stores are, and whether all processes
     * on all machines see the same ones. Null where the application has no locks.
     *
     * @return array{kind: string, shared: bool}|null
     */
    public function lock(): ?array
    {
        $kinds = [];
        foreach (array_keys($this->locks->getProvidedServices()) as $id) {
            try {
                $dsn = (string) $this->locks->get($id)[0];
                // A store that is not named by a DSN is a service of the application.
                $kinds[] = 1 === preg_match('~^[a-z][a-z0-9+-]*(?=:|$)~i', $dsn, $match) ? strtolower($match[0]) : 'service';
            } catch (\Throwable) {
                $kinds[] = 'unknown';
            }
        }

        return [] === $kinds ? null : ['kind' => implode(',', $kinds), 'shared' => [] === array_intersect($kinds, self::LOCAL_LOCKS)];
    }
}
