<?php

declare(strict_types=1);

/**
 * Runs a piece of PHP, such as one of the documentation, on a database, with `$db` (PDO) and `$connection` (DBAL, where the piece has it).
 *
 *     php run.php postgres|mysql SOCKET DATABASE USER FILE
 */
use Doctrine\DBAL\DriverManager;

[, $server, $socket, $database, $user, $file] = $argv;
if (str_contains((string) file_get_contents($file), '$connection')) {
    require '/usr/share/php/Doctrine/DBAL/autoload.php';
    $driver = $server === 'postgres' ? ['driver' => 'pdo_pgsql', 'host' => $socket] : ['driver' => 'pdo_mysql', 'unix_socket' => $socket];
    $connection = DriverManager::getConnection($driver + ['dbname' => $database, 'user' => $user]);
}
$dsn = $server === 'postgres' ? "pgsql:host=$socket;dbname=$database" : "mysql:unix_socket=$socket;dbname=$database";
$db = new PDO($dsn, $user, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
require $file;
