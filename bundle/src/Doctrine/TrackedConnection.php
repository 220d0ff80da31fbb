<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Doctrine;

use Doctrine\DBAL\Driver\Connection;
use Doctrine\DBAL\Driver\Middleware\AbstractConnectionMiddleware;

/** @internal */
final class TrackedConnection extends AbstractConnectionMiddleware
{
    public function __construct(Connection $connection, private readonly TransactionTracker $tracker)
    {
        parent::__construct($connection);
    }

    public function beginTransaction(): void
    {
        parent::beginTransaction();
        $this->tracker->begun();
    }

    public function commit(): void
    {
        parent::commit();
        $this->tracker->ended(true);
    }

    public function rollBack(): void
    {
        // Also when the connection was lost: the database has rolled back by itself.
        try {
            parent::rollBack();
        } finally {
            $this->tracker->ended(false);
        }
    }
}
