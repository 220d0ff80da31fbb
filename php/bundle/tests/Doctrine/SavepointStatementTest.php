<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Doctrine;

use Fervo\DeferredEventBundle\Doctrine\SavepointStatement;
use PHPUnit\Framework\TestCase;

final class SavepointStatementTest extends TestCase
{
    public function testReadsTheWordsOfAllDatabases(): void
    {
        $expected = [
            'SAVEPOINT DOCTRINE_2' => ['set', 'doctrine_2'],
            ' savepoint "a b" ;' => ['set', '"a b"'],
            'SAVE TRANSACTION a' => ['set', 'a'],
            'RELEASE SAVEPOINT a' => ['release', 'a'],
            'release `a`' => ['release', '`a`'],
            'ROLLBACK TO SAVEPOINT a' => ['roll back', 'a'],
            "ROLLBACK\nTO a" => ['roll back', 'a'],
            'ROLLBACK WORK TO SAVEPOINT a' => ['roll back', 'a'],
            'ROLLBACK TRANSACTION TO a' => ['roll back', 'a'],
            'ROLLBACK TRANSACTION a' => ['roll back', 'a'],
            '/* GET /pay */ SAVEPOINT a' => ['set', 'a'],
            "-- GET /pay\n# pay\nROLLBACK TO a" => ['roll back', 'a'],
            "RELEASE SAVEPOINT a /*route='pay'*/ -- pay" => ['release', 'a'],
            'SAVEPOINT "a--b"' => ['set', '"a--b"'],
            'ROLLBACK' => null,
            '/* SAVEPOINT a' => null,
            '-- SAVEPOINT a' => null,
            'SELECT 1 /* SAVEPOINT a */' => null,
            'SELECT 1' => null,
            'SAVEPOINT' => null,
            'REPLACE INTO t VALUES (1)' => null,
            'INSERT INTO t VALUES (\'SAVEPOINT a\')' => null,
            '' => null,
        ];
        foreach ($expected as $sql => $what) {
            $read = SavepointStatement::read($sql);
            self::assertSame($what, null === $read ? null : [$read->kind, $read->savepoint], $sql);
        }
    }
}
