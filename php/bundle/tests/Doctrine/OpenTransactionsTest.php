<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Doctrine;

use Doctrine\DBAL\Connection;
use Doctrine\DBAL\DriverManager;
use Fervo\DeferredEventBundle\Doctrine\OpenTransactions;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use PHPUnit\Framework\TestCase;

final class OpenTransactionsTest extends TestCase
{
    public function testRollsBackWhatAJobHasLeftAndNamesTheConnections(): void
    {
        $open = self::connection();
        $open->beginTransaction();
        $open->beginTransaction();
        $open->executeStatement('INSERT INTO t VALUES (1)');
        $idle = self::connection();

        self::assertSame(['open'], (new OpenTransactions(['open' => $open, 'idle' => $idle]))->rollBack());
        self::assertFalse($open->isTransactionActive());
        self::assertEquals(0, $open->fetchOne('SELECT COUNT(*) FROM t'));
    }

    /** There, a transaction is always open: it says nothing of the job, and the next job must not go on in it. */
    public function testAConnectionWithoutAutoCommitIsRolledBackAndNotNamed(): void
    {
        $connection = self::connection();
        $connection->setAutoCommit(false);
        $connection->close(); // DBAL begins the transaction when it connects.
        $connection->executeStatement('INSERT INTO t VALUES (1)');

        self::assertSame([], (new OpenTransactions(['main' => $connection]))->rollBack());
        $connection->commit();
        self::assertEquals(0, $connection->fetchOne('SELECT COUNT(*) FROM t'));
    }

    private static function connection(): Connection
    {
        $connection = DriverManager::getConnection(['driver' => 'pdo_sqlite', 'path' => Folder::create().'/app.sqlite']);
        $connection->executeStatement('CREATE TABLE t (x INTEGER)');

        return $connection;
    }
}
