<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Payload;

use Fervo\DeferredEventBundle\Exception\InvalidSignatureException;
use Fervo\DeferredEventBundle\Exception\NotDeployedException;
use Fervo\DeferredEventBundle\Exception\UndecodablePayloadException;
use Fervo\DeferredEventBundle\Exception\UnserializableEventException;
use Fervo\DeferredEventBundle\Payload\LegacyPayload;
use Fervo\DeferredEventBundle\Payload\PayloadCodec;
use Fervo\DeferredEventBundle\Payload\Signer;
use Fervo\DeferredEventBundle\Serializer\JsonEventSerializer;
use Fervo\DeferredEventBundle\Serializer\PhpEventSerializer;
use Fervo\DeferredEventBundle\Tests\Fixtures\FooActionEvent;
use Fervo\DeferredEventBundle\Tests\Fixtures\OrderPlaced;
use PHPUnit\Framework\TestCase;
use Symfony\Component\DependencyInjection\ServiceLocator;
use Symfony\Component\Serializer\Encoder\JsonEncoder;
use Symfony\Component\Serializer\Normalizer\ObjectNormalizer;
use Symfony\Component\Serializer\Serializer;

final class PayloadCodecTest extends TestCase
{
    public function testThePhpFormatIsTheDocumentedOne(): void
    {
        $event = new OrderPlaced(7);
        [, $json] = explode("\n", $this->codec()->encode('order.placed', $event, 'app.mailer::send'), 2);

        self::assertSame([
            'event' => 'order.placed',
            'class' => OrderPlaced::class,
            'format' => 'php',
            'data' => base64_encode(serialize($event)),
            'listener' => ['service' => 'app.mailer', 'method' => 'send'],
        ], json_decode($json, true));
    }

    /**
     * @testWith ["php"]
     *           ["json"]
     */
    #[\PHPUnit\Framework\Attributes\TestWith(['php'])]
    #[\PHPUnit\Framework\Attributes\TestWith(['json'])]
    public function testDecodesWhatItEncoded(string $format): void
    {
        $event = new OrderPlaced(7);
        $event->extra = ['späß' => [1.0, null, 'a/b']];

        $decoded = $this->codec()->decode($this->codec($format)->encode('order.placed', $event, 'a::b'));

        self::assertEquals($event, $decoded->event);
        self::assertSame('order.placed', $decoded->name);
        self::assertSame('a::b', $decoded->listener);
    }

    public function testJsonLeavesOutWhetherPropagationHasStopped(): void
    {
        $event = new FooActionEvent('text');
        $event->stopPropagation();

        $decoded = $this->codec()->decode($this->codec('json')->encode('foo', $event))->event;

        self::assertSame('text', $decoded->text);
        self::assertFalse($decoded->isPropagationStopped());
    }

    public function testAStoppedEventGoesOnWhereItArrives(): void
    {
        foreach (['php', 'json'] as $format) {
            $event = new FooActionEvent('text');
            $event->stopPropagation();
            $decoded = $this->codec()->decode($this->codec($format)->encode('foo', $event))->event;

            self::assertFalse($decoded->isPropagationStopped());
            self::assertTrue($event->isPropagationStopped());
        }
    }

    public function testAStoppedEventThatCannotGoOnIsRefused(): void
    {
        $event = new class implements \Psr\EventDispatcher\StoppableEventInterface {
            public function isPropagationStopped(): bool
            {
                return true;
            }
        };

        $this->expectException(\Fervo\DeferredEventBundle\Exception\InvalidOptionException::class);
        $this->expectExceptionMessage('propagation is stopped');

        $this->codec()->encode('foo', $event);
    }

    public function testNothingUnsignedIsUnserialized(): void
    {
        $this->expectException(InvalidSignatureException::class);

        $this->codec()->decode(base64_encode(serialize(new FooActionEvent())));
    }

    public function testAnUnknownClassIsNamed(): void
    {
        $this->expectException(NotDeployedException::class);
        $this->expectExceptionMessage('The class "App\Gone" of the event "foo" is not there.');

        $this->codec()->decode(self::signed(['event' => 'foo', 'class' => 'App\Gone', 'format' => 'php', 'data' => base64_encode('O:8:"App\Gone":0:{}')]));
    }

    public function testAnUnknownFormatIsNamed(): void
    {
        $this->expectException(NotDeployedException::class);
        $this->expectExceptionMessage('"igbinary"');

        $this->codec()->decode(self::signed(['event' => 'foo', 'class' => OrderPlaced::class, 'format' => 'igbinary', 'data' => '']));
    }

    public function testAnUnknownClassInsideIsNamed(): void
    {
        $event = new OrderPlaced();
        $event->extra = 'placeholder';
        $bytes = str_replace('s:11:"placeholder"', 'O:8:"App\Gone":0:{}', serialize($event));

        $this->expectException(NotDeployedException::class);
        $this->expectExceptionMessage('"App\Gone"');

        $this->codec()->decode(self::signed(['event' => 'foo', 'class' => OrderPlaced::class, 'format' => 'php', 'data' => base64_encode($bytes)]));
    }

    /** @dataProvider unreadable */
    #[\PHPUnit\Framework\Attributes\DataProvider('unreadable')]
    public function testRefusesASignedPayloadThatIsNoEvent(string $payload): void
    {
        $this->expectException(UndecodablePayloadException::class);

        $this->codec()->decode($payload);
    }

    /** @return iterable<string, array{string}> */
    public static function unreadable(): iterable
    {
        $event = ['event' => 'foo', 'class' => OrderPlaced::class, 'format' => 'php', 'data' => base64_encode(serialize(new OrderPlaced()))];
        yield 'no JSON' => [(new Signer('s3cret'))->sign('{')];
        yield 'a number' => [(new Signer('s3cret'))->sign('1')];
        yield 'no class' => [self::signed(array_diff_key($event, ['class' => 1]))];
        yield 'no base64' => [self::signed(['data' => '*'] + $event)];
        yield 'truncated data' => [self::signed(['data' => base64_encode(substr(serialize(new OrderPlaced()), 0, -3))] + $event)];
        yield 'another class inside' => [self::signed(['class' => FooActionEvent::class] + $event)];
        yield 'no object' => [self::signed(['data' => base64_encode('i:1;')] + $event)];
        yield 'JSON that is none' => [self::signed(['format' => 'json', 'data' => '{'] + $event)];
    }

    public function testAllowedClassesHoldWhenDeferring(): void
    {
        $this->expectException(UnserializableEventException::class);
        $this->expectExceptionMessage('allowed_classes');

        $this->codec(allowed: [OrderPlaced::class])->encode('foo', new FooActionEvent());
    }

    /**
     * @testWith ["php"]
     *           ["json"]
     */
    #[\PHPUnit\Framework\Attributes\TestWith(['php'])]
    #[\PHPUnit\Framework\Attributes\TestWith(['json'])]
    public function testAllowedClassesHoldForTheEvent(string $format): void
    {
        $payload = $this->codec($format)->encode('foo', new FooActionEvent());

        $this->expectException(NotDeployedException::class);
        $this->expectExceptionMessage('allowed_classes');

        $this->codec(allowed: [OrderPlaced::class])->decode($payload);
    }

    public function testAllowedClassesHoldForWhatIsInside(): void
    {
        $event = new OrderPlaced();
        $event->extra = ['when' => new \ArrayObject([1])];
        $payload = $this->codec()->encode('foo', $event);

        self::assertEquals($event, $this->codec(allowed: [OrderPlaced::class, \ArrayObject::class])->decode($payload)->event);

        $this->expectException(NotDeployedException::class);
        $this->expectExceptionMessage(OrderPlaced::class.'::$extra[\'when\']');

        $this->codec(allowed: [OrderPlaced::class])->decode($payload);
    }

    public function testLegacyPayloadsAreTakenOnlyWhereAllowed(): void
    {
        $event = new FooActionEvent('old');
        $event->setName('foo.action');

        $decoded = $this->codec(legacy: true)->decode(base64_encode(serialize($event)));

        self::assertSame(['foo.action', false], [$decoded->name, $decoded->isSigned]);
        self::assertEquals($event, $decoded->event);
    }

    public function testALegacyPayloadNeedsAName(): void
    {
        $this->expectException(UndecodablePayloadException::class);
        $this->expectExceptionMessage('getName()');

        $this->codec(legacy: true)->decode(base64_encode(serialize(new OrderPlaced())));
    }

    public function testLegacyDoesNotWeakenWhatIsSigned(): void
    {
        $this->expectException(InvalidSignatureException::class);

        $this->codec(legacy: true)->decode($this->codec()->encode('foo', new OrderPlaced()).' ');
    }

    /** @param array<string, mixed> $body */
    private static function signed(array $body): string
    {
        return (new Signer('s3cret'))->sign(json_encode($body));
    }

    /** @param list<string> $allowed */
    private function codec(string $format = 'php', array $allowed = [], bool $legacy = false): PayloadCodec
    {
        $php = new PhpEventSerializer($allowed);
        $json = new JsonEventSerializer(new Serializer([new ObjectNormalizer()], [new JsonEncoder()]));

        return new PayloadCodec(
            new Signer('s3cret'),
            new ServiceLocator(['php' => static fn () => $php, 'json' => static fn () => $json]),
            $format,
            $allowed,
            $legacy ? new LegacyPayload($php) : null,
        );
    }
}
