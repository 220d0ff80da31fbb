<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Doctrine;

use Doctrine\DBAL\Driver;
use Doctrine\DBAL\Driver\Connection;
use Doctrine\DBAL\Driver\Middleware;
use Doctrine\DBAL\Driver\Middleware\AbstractDriverMiddleware;

/**
 * Tells the tracker of the connection's transactions. DBAL asks its driver for the outermost one only; those inside are
 * counters or savepoints.
 *
 * @internal
 */
final class TransactionMiddleware implements Middleware
{
    public function __construct(private readonly TransactionTracker $tracker)
    {
    }

    public function wrap(Driver $driver): Driver
    {
        return new class($driver, $this->tracker) extends AbstractDriverMiddleware {
            public function __construct(Driver $driver, private readonly TransactionTracker $tracker)
            {
                parent::__construct($driver);
            }

            public function connect(#[\SensitiveParameter] array $params): Connection
            {
                $connection = parent::connect($params);

                // DBAL 3 returns true from these methods, DBAL 4 nothing: one class cannot do both.
                return (new \ReflectionMethod(Connection::class, 'commit'))->hasReturnType()
                    ? new TrackedConnection($connection, $this->tracker->watch())
                    : new TrackedDbal3Connection($connection, $this->tracker->watch());
            }
        };
    }
}
