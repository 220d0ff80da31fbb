<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Doctrine;

use Doctrine\DBAL\Driver\Connection;
use Doctrine\DBAL\Driver\Middleware\AbstractConnectionMiddleware;

/** @internal */
final class TrackedDbal3Connection extends AbstractConnectionMiddleware
{
    public function __construct(Connection $connection, private readonly TransactionTracker $tracker)
    {
        parent::__construct($connection);
    }

    /** @return bool */
    public function beginTransaction()
    {
        if (false !== $result = parent::beginTransaction()) {
            $this->tracker->begun();
        }

        return $result;
    }

    /** @return bool */
    public function commit()
    {
        if (false !== $result = parent::commit()) {
            $this->tracker->ended(true);
        }

        return $result;
    }

    /** @return bool */
    public function rollBack()
    {
        // Also when the connection was lost: the database has rolled back by itself.
        try {
            return parent::rollBack();
        } finally {
            $this->tracker->ended(false);
        }
    }
}
