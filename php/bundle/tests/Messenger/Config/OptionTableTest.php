<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Messenger\Config;

use Fervo\DeferredEventBundle\Messenger\Config\OptionTable;
use PHPUnit\Framework\TestCase;
use Symfony\Bundle\FrameworkBundle\DependencyInjection\Configuration;
use Symfony\Component\Config\Definition\ArrayNode;
use Symfony\Component\Config\Definition\NodeInterface;
use Symfony\Component\Config\Definition\PrototypedArrayNode;
use Symfony\Component\HttpKernel\Kernel;

/** The table has the options of the Symfony that is installed, and no others. */
final class OptionTableTest extends TestCase
{
    public function testItHasEveryOptionOfTheConfigurationTree(): void
    {
        $tree = (new Configuration(false))->getConfigTreeBuilder()->buildTree();
        \assert($tree instanceof ArrayNode);
        $keys = self::keys($tree->getChildren()['messenger'], '');
        $table = array_keys(OptionTable::framework(Kernel::VERSION));
        sort($keys);
        sort($table);

        self::assertSame($keys, $table);
    }

    public function testItHasEveryOptionOfTheDoctrineTransport(): void
    {
        $keys = ['use_notify']; // The factory reads it.
        foreach (['Connection', 'PostgreSqlConnection'] as $class) {
            array_push($keys, ...array_keys((new \ReflectionClassConstant('Symfony\Component\Messenger\Bridge\Doctrine\Transport\\'.$class, 'DEFAULT_OPTIONS'))->getValue()));
        }
        $keys = array_values(array_unique($keys));
        $table = array_keys(OptionTable::doctrine());
        sort($keys);
        sort($table);

        self::assertSame($keys, $table);
    }

    public function testItTellsOfOptionsThatAreSetAndHaveNoEffect(): void
    {
        self::assertSame(['stop_worker_on_signals'], array_keys(OptionTable::notObeyed([
            ['stop_worker_on_signals' => ['SIGTERM'], 'transports' => ['stop' => ['dsn' => 'sync://', 'retry_strategy' => ['max_retries' => 1]]]],
            ['transports' => ['async' => 'doctrine://default']],
        ])));
    }

    /** @return list<string> */
    private static function keys(NodeInterface $node, string $path): array
    {
        if ($node instanceof PrototypedArrayNode) {
            $prototype = $node->getPrototype();

            return $prototype instanceof ArrayNode ? self::keys($prototype, $path.'.*') : [$path];
        }
        if (!$node instanceof ArrayNode || [] === $node->getChildren()) {
            return [$path];
        }
        $keys = [];
        foreach ($node->getChildren() as $name => $child) {
            array_push($keys, ...self::keys($child, ltrim($path.'.'.$name, '.')));
        }

        return $keys;
    }
}
