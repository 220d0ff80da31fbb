<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Serializer;

use Fervo\DeferredEventBundle\Exception\UnserializableEventException;
use Fervo\DeferredEventBundle\Serializer\JsonEventSerializer;
use Fervo\DeferredEventBundle\Serializer\PhpEventSerializer;
use Fervo\DeferredEventBundle\Tests\Fixtures\OrderPlaced;
use PHPUnit\Framework\TestCase;
use Symfony\Component\Serializer\Encoder\JsonEncoder;
use Symfony\Component\Serializer\Normalizer\ObjectNormalizer;
use Symfony\Component\Serializer\Serializer;

final class UnserializableEventTest extends TestCase
{
    /** @dataProvider unserializable */
    #[\PHPUnit\Framework\Attributes\DataProvider('unserializable')]
    public function testSaysWhereItIs(\Closure $extra, string $message): void
    {
        $event = new OrderPlaced();
        $event->extra = $extra();

        $this->expectException(UnserializableEventException::class);
        $this->expectExceptionMessage('Cannot defer the event: '.OrderPlaced::class.$message);

        (new PhpEventSerializer())->serialize($event);
    }

    /** @return iterable<string, array{\Closure, string}> */
    public static function unserializable(): iterable
    {
        yield 'closure' => [static fn () => static fn () => 1, '::$extra is a closure.'];
        yield 'closure deep inside' => [
            static function (): object {
                $mailer = new PrivateHolder(['list' => [1, static fn () => 1]]);

                return (object) ['mailer' => $mailer];
            },
            '::$extra->mailer->value[\'list\'][1] is a closure.',
        ];
        yield 'private property of a parent class' => [static fn () => new ChildOfPrivateHolder(static fn () => 1), '::$extra->value is a closure.'];
        yield 'resource, of which PHP would make 0' => [static fn () => ['file' => fopen('php://memory', 'r')], '::$extra[\'file\'] is a resource.'];
        yield 'closed resource' => [
            static function () {
                $file = fopen('php://memory', 'r');
                fclose($file);

                return $file;
            },
            '::$extra is a resource.',
        ];
        yield 'anonymous class' => [static fn () => new class {}, '::$extra is an object of an anonymous class.'];
        yield 'class that PHP refuses' => [static fn () => (object) ['db' => new \PDO('sqlite::memory:')], '::$extra->db is an object of the class "PDO", which cannot be serialized ('];
        yield 'a private property through __serialize(), as of a lazy service' => [static fn () => new SelfSerialized(static fn () => 1, "\0App\Mailer\0transport"), '::$extra->transport is a closure.'];
        yield 'through __serialize()' => [static fn () => new SelfSerialized(static fn () => 1), '::$extra->key is a closure.'];
    }

    public function testWhatSleepLeavesOutMayBeAnything(): void
    {
        $event = new OrderPlaced();
        $event->extra = new Sleeper(static fn () => 1);

        self::assertEquals($event->extra->id, (new PhpEventSerializer())->deserialize((new PhpEventSerializer())->serialize($event), OrderPlaced::class)->extra->id);
    }

    public function testZeroAndCyclesAreNoResources(): void
    {
        $event = new OrderPlaced(0);
        $event->extra = $event;

        self::assertSame(0, (new PhpEventSerializer())->deserialize((new PhpEventSerializer())->serialize($event), OrderPlaced::class)->extra->id);
    }

    public function testAnErrorOfTheEventItselfIsToldWithItsClass(): void
    {
        $this->expectException(UnserializableEventException::class);
        $this->expectExceptionMessageMatches('/Throwing.*no way/');

        (new PhpEventSerializer())->serialize(new Throwing());
    }

    public function testJsonMakesNothingOfAClosure(): void
    {
        $event = new OrderPlaced();
        $event->extra = [static fn () => 1];

        $this->expectException(UnserializableEventException::class);
        $this->expectExceptionMessage('::$extra[0] is a closure.');

        (new JsonEventSerializer(new Serializer([new ObjectNormalizer()], [new JsonEncoder()])))->serialize($event);
    }
}

class PrivateHolder
{
    public function __construct(private mixed $value)
    {
    }
}

final class ChildOfPrivateHolder extends PrivateHolder
{
}

final class SelfSerialized
{
    public function __construct(private mixed $value, private string $key = 'key')
    {
    }

    public function __serialize(): array
    {
        return [$this->key => $this->value];
    }
}

final class Sleeper
{
    public int $id = 3;

    public function __construct(public mixed $closure)
    {
    }

    public function __sleep(): array
    {
        return ['id'];
    }
}

final class Throwing
{
    public function __serialize(): array
    {
        throw new \RuntimeException('no way');
    }
}
