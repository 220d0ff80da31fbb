<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Doctrine;

/**
 * The transactions that are open now, on all connections that are watched.
 *
 * @internal
 */
final class TransactionTracker
{
    /** @var \WeakMap<ConnectionTransactions, true> a connection that is closed is gone */
    private \WeakMap $connections;

    /** @var \Closure(): void */
    private \Closure $onEnded;

    public function __construct()
    {
        $this->connections = new \WeakMap();
        $this->onEnded = static function (): void {};
    }

    /** @param \Closure(): void $callback is called after each transaction, and each savepoint that is rolled back; must not throw */
    public function onEnded(\Closure $callback): void
    {
        $this->onEnded = $callback;
    }

    /** For a connection that has just been opened. */
    public function watch(): ConnectionTransactions
    {
        $connection = new ConnectionTransactions(function (): void {
            ($this->onEnded)();
        });
        $this->connections[$connection] = true;

        return $connection;
    }

    public function isOpen(): bool
    {
        return [] !== $this->openScopes();
    }

    /** @return list<TransactionScope> the innermost of each connection that is in a transaction */
    public function openScopes(): array
    {
        $scopes = [];
        foreach ($this->connections as $connection => $_) {
            if (null !== $scope = $connection->scope()) {
                $scopes[] = $scope;
            }
        }

        return $scopes;
    }
}
